"""What conversations are called, by the service and by clients, without what else stands in their rows."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import Conversation
from core.storage.repositories.arrays import is_among_given


@dataclass(frozen=True, slots=True)
class Name:
    """What tells a conversation from others."""

    id: UUID
    agent_id: UUID
    external_id: str | None


NAMES = select(Conversation.id, Conversation.agent_id, Conversation.external_id)
BY_ID = NAMES.where(is_among_given(Conversation.id, "ids"))
BY_EXTERNAL_ID = NAMES.where(
    is_among_given(Conversation.agent_id, "agent_ids"), is_among_given(Conversation.external_id, "external_ids")
)


async def list_names(session: AsyncSession, conversation_ids: Collection[UUID]) -> list[Name]:
    """Those of the conversations that there are, without what else stands in their rows."""
    return [Name(*row) for row in await session.execute(BY_ID, {"ids": list(conversation_ids)})]


async def list_names_by_external_id(
    session: AsyncSession, agent_ids: Collection[UUID], external_ids: Collection[str]
) -> list[Name]:
    """Conversations of these agents that clients named so."""
    given = {"agent_ids": list(agent_ids), "external_ids": list(external_ids)}
    return [Name(*row) for row in await session.execute(BY_EXTERNAL_ID, given)]

"""Which conversations a learner may draw: each part by an index and a limit, so that no draw grows with history."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import LargeBinary, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories import conversations

LOT = literal_column("substring(uuid_send(conversations.id), 13)", LargeBinary)
"""As ix_conversations_lot has it, to the letter."""
LOT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A conversation that may be drawn, and whose it is."""

    id: UUID
    end_user: str | None
    matured_at: datetime | None


async def list_changed(session: AsyncSession, agent_id: UUID, *, limit: int) -> list[Candidate]:
    """Matured ones whose outcome changed after it had taught, those that have waited longest first."""
    changed = _matured(agent_id).where(Conversation.changed_at.is_not(None)).order_by(Conversation.changed_at)
    return await _candidates(session, changed.limit(limit))


async def list_newest(session: AsyncSession, agent_id: UUID, *, limit: int) -> list[Candidate]:
    """Those that matured last, newest first."""
    return await _candidates(session, _matured(agent_id).order_by(Conversation.matured_at.desc()).limit(limit))


async def list_by_lot(session: AsyncSession, agent_id: UUID, lot: bytes, *, limit: int) -> list[Candidate]:
    """Matured ones of any age: in the order of their lots from this one on, and round.

    Whose lot is whose is chance, so nothing that happened makes one likelier; but a gap before a lot does.
    """
    drawn = await _candidates(session, _matured(agent_id).where(lot <= LOT).order_by(LOT).limit(limit))
    if len(drawn) < limit:
        before = _matured(agent_id).where(lot > LOT).order_by(LOT)
        drawn += await _candidates(session, before.limit(limit - len(drawn)))
    return drawn


async def list_without_outcome(session: AsyncSession, agent_id: UUID, *, limit: int, among: int) -> list[Candidate]:
    """Of so many that ended last, those whose outcome is not known or never came, newest first."""
    ended = (
        select(Conversation.id, Conversation.end_user, Conversation.matured_at, Conversation.state)
        .where(Conversation.agent_id == agent_id, Conversation.state != ConversationState.OPEN)
        .order_by(Conversation.closed_at.desc())
        .limit(among)
        .subquery()
    )
    unknown = [ConversationState.AWAITING, ConversationState.EXPIRED]
    statement = select(ended.c.id, ended.c.end_user, ended.c.matured_at).where(ended.c.state.in_(unknown)).limit(limit)
    return await _candidates(session, statement)


async def only_sources_of(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, str]:
    """The source of each conversation of which a single one has said anything."""
    statement = (
        select(RewardEntry.conversation_id, func.min(RewardEntry.source))
        .where(RewardEntry.conversation_id.in_(conversation_ids))
        .group_by(RewardEntry.conversation_id)
        .having(func.min(RewardEntry.source) == func.max(RewardEntry.source))
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def mark_taught(session: AsyncSession, as_read: Mapping[UUID, datetime | None], *, read_at: datetime) -> None:
    """Note that a run learned from these outcomes; `as_read` says when each had matured as the run read it.

    One that has another time by now changed meanwhile, and is still to be learned.
    """
    for conversation in (await conversations.lock_conversations(session, as_read)).values():
        is_as_read = conversation.matured_at == as_read[conversation.id]
        conversation.taught_at = read_at
        conversation.changed_at = None if is_as_read else conversation.matured_at or conversation.changed_at or read_at
    await session.flush()


def _matured(agent_id: UUID) -> Select[UUID, str | None, datetime | None]:
    return select(Conversation.id, Conversation.end_user, Conversation.matured_at).where(
        Conversation.agent_id == agent_id, Conversation.state == ConversationState.MATURED
    )


async def _candidates(session: AsyncSession, statement: Select[UUID, str | None, datetime | None]) -> list[Candidate]:
    return [Candidate(row[0], row[1], row[2]) for row in await session.execute(statement)]

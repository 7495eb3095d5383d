"""Turns and their tokens."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import Episode, Turn, TurnTokens
from core.storage.repositories.arrays import is_among


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn belongs."""

    id: UUID
    agent_id: UUID
    conversation_id: UUID


async def list_places(session: AsyncSession, turn_ids: Collection[UUID]) -> list[Place]:
    """Those of the turns that there are, without what was said."""
    statement = select(Turn.id, Turn.agent_id, Turn.conversation_id).where(is_among(Turn.id, turn_ids))
    return [Place(*row) for row in await session.execute(statement)]


async def list_existing(session: AsyncSession, turn_ids: Collection[UUID]) -> set[UUID]:
    """Those that were not erased."""
    return set((await session.scalars(select(Turn.id).where(is_among(Turn.id, turn_ids)))).all())


async def list_by_id(session: AsyncSession, turn_ids: Collection[UUID]) -> Sequence[Turn]:
    return (await session.scalars(select(Turn).where(is_among(Turn.id, turn_ids)))).all()


async def list_turns(session: AsyncSession, conversation_id: UUID) -> Sequence[Turn]:
    statement = select(Turn).where(Turn.conversation_id == conversation_id).order_by(Turn.index, Turn.id)
    return (await session.scalars(statement)).all()


async def list_turns_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> Sequence[Turn]:
    """The turns of several conversations, each conversation's in order."""
    statement = (
        select(Turn)
        .join(Episode, Episode.id == Turn.episode_id)
        .where(Turn.conversation_id.in_(list(conversation_ids)))
        .order_by(Turn.conversation_id, Episode.ordinal, Turn.index, Turn.id)
    )
    return (await session.scalars(statement)).all()


async def list_ids_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> dict[UUID, list[UUID]]:
    """The turns' ids of each of the conversations that has any, in order, without what was said."""
    statement = (
        select(Turn.conversation_id, Turn.id)
        .join(Episode, Episode.id == Turn.episode_id)
        .where(Turn.conversation_id.in_(list(conversation_ids)))
        .order_by(Turn.conversation_id, Episode.ordinal, Turn.index, Turn.id)
    )
    found: dict[UUID, list[UUID]] = {}
    for row in await session.execute(statement):
        found.setdefault(row.conversation_id, []).append(row.id)
    return found


async def list_tokens(session: AsyncSession, turn_ids: Iterable[UUID]) -> dict[UUID, TurnTokens]:
    statement = select(TurnTokens).where(TurnTokens.turn_id.in_(list(turn_ids)))
    return {row.turn_id: row for row in (await session.scalars(statement)).all()}


async def newest_turn(session: AsyncSession, conversation_id: UUID) -> Turn | None:
    statement = select(Turn).where(Turn.conversation_id == conversation_id).order_by(Turn.index.desc(), Turn.id.desc())
    found: Turn | None = await session.scalar(statement.limit(1))
    return found

"""The reward ledger."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.rewards import Entry
from core.storage.models import DeadLetter, IdempotencyKey, RewardEntry


async def list_entries(session: AsyncSession, conversation_id: UUID) -> Sequence[RewardEntry]:
    """All entries about a conversation and its turns, in the ledger's order."""
    statement = select(RewardEntry).where(RewardEntry.conversation_id == conversation_id).order_by(RewardEntry.sequence)
    return (await session.scalars(statement)).all()


async def list_entries_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> Sequence[RewardEntry]:
    """All entries about several conversations, in the ledger's order."""
    statement = select(RewardEntry).where(RewardEntry.conversation_id.in_(list(conversation_ids)))
    return (await session.scalars(statement.order_by(RewardEntry.sequence))).all()


async def find_entry(session: AsyncSession, entry_id: UUID) -> RewardEntry | None:
    return await session.get(RewardEntry, entry_id)


def as_entries(rows: Sequence[RewardEntry]) -> list[Entry]:
    """The ledger's lines as the domain folds them."""
    return [Entry(row.id, row.turn_id, row.metric, row.source, row.value, row.supersedes, row.retracts) for row in rows]


async def claim_key(
    session: AsyncSession, agent_id: UUID, key: str, body_hash: bytes, answer: dict[str, Any]
) -> IdempotencyKey | None:
    """Take an idempotency key for this transaction; None when it is free no more.

    A second request with the same key waits here until the first has committed or rolled back.
    """
    statement = (
        insert(IdempotencyKey)
        .values(agent_id=agent_id, key=key, body_hash=body_hash, answer=answer)
        .on_conflict_do_nothing()
        .returning(IdempotencyKey)
    )
    taken: IdempotencyKey | None = await session.scalar(statement)
    return taken


async def get_key(session: AsyncSession, agent_id: UUID, key: str) -> IdempotencyKey:
    return await session.get_one(IdempotencyKey, (agent_id, key))


async def list_dead_letters(
    session: AsyncSession, *, agents: Collection[str] | None, after: UUID | None, limit: int
) -> Sequence[DeadLetter]:
    """Oldest first; those that came by a key which saw no more than `agents` (None: all of them)."""
    statement = select(DeadLetter).order_by(DeadLetter.id).limit(limit)
    if after is not None:
        statement = statement.where(DeadLetter.id > after)
    if agents is not None:
        statement = statement.where(DeadLetter.agents.contained_by(sorted(agents)))
    return (await session.scalars(statement)).all()


async def forget_dead_letters(session: AsyncSession, before: datetime) -> int:
    """Delete those received before a time; how many they were."""
    gone = await session.execute(delete(DeadLetter).where(DeadLetter.received_at < before))
    return int(gone.rowcount)  # type: ignore[attr-defined]  # a cursor result, which async sessions type too widely

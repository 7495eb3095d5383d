"""The reward ledger."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.rewards import Entry
from core.storage.models import DeadLetter, IdempotencyKey, RewardEntry

KeyName = tuple[UUID, str]
"""An agent's id, and what the client calls the request."""


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


async def list_keys(session: AsyncSession, names: Collection[KeyName]) -> dict[KeyName, IdempotencyKey]:
    """Those of the keys that are used up, with what they stand for."""
    if not names:
        return {}
    statement = select(IdempotencyKey).where(tuple_(IdempotencyKey.agent_id, IdempotencyKey.key).in_(names))
    return {(row.agent_id, row.key): row for row in await session.scalars(statement)}


async def claim_keys(session: AsyncSession, body_hashes: Mapping[KeyName, bytes]) -> set[KeyName]:
    """Take idempotency keys for this transaction; gives back which were free.

    Another request with one of the keys waits here until the first has committed or rolled back; keys are taken in
    their order, so that two requests never wait for each other.
    """
    if not body_hashes:
        return set()
    rows = [
        {"agent_id": agent_id, "key": key, "body_hash": body_hash, "answer": {}}
        for (agent_id, key), body_hash in sorted(body_hashes.items())
    ]
    statement = insert(IdempotencyKey).values(rows).on_conflict_do_nothing()
    taken = await session.execute(statement.returning(IdempotencyKey.agent_id, IdempotencyKey.key))
    return {(row.agent_id, row.key) for row in taken}


async def answer_keys(session: AsyncSession, answers: Mapping[KeyName, dict[str, Any]]) -> None:
    """Store what each claimed key's request was told."""
    rows = [{"agent_id": agent_id, "key": key, "answer": answer} for (agent_id, key), answer in answers.items()]
    if rows:
        await session.execute(update(IdempotencyKey), rows)


async def list_by_id(session: AsyncSession, entry_ids: Collection[UUID]) -> dict[UUID, RewardEntry]:
    statement = select(RewardEntry).where(RewardEntry.id.in_(entry_ids))
    return {row.id: row for row in await session.scalars(statement)}


async def lock_dead_letter(session: AsyncSession, letter_id: UUID) -> DeadLetter | None:
    """The letter, for whoever retries it alone."""
    letter: DeadLetter | None = await session.scalar(
        select(DeadLetter).where(DeadLetter.id == letter_id).with_for_update()
    )
    return letter


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

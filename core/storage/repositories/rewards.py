"""The reward ledger."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.ids import first_id_at
from core.domain.rewards import Entry
from core.storage.models import DeadLetter, Demonstration, IdempotencyKey, RewardEntry
from core.storage.repositories.arrays import as_given, given_rows, is_among, is_among_given

KeyName = tuple[UUID, str]
"""An agent's id, and what the client calls the request."""

# As tables: an insert into a class with parameters would mean rows of it to the ORM, and these are columns of many.
LEDGER = RewardEntry.metadata.tables[RewardEntry.__tablename__]
KEYS = IdempotencyKey.metadata.tables[IdempotencyKey.__tablename__]
SAID = (
    RewardEntry.id,
    RewardEntry.agent_id,
    RewardEntry.conversation_id,
    RewardEntry.turn_id,
    RewardEntry.metric,
    RewardEntry.value,
    RewardEntry.source,
    RewardEntry.supersedes,
    RewardEntry.retracts,
    RewardEntry.comment,
    RewardEntry.occurred_at,
)
"""What an entry says; the rest of its row Postgres adds."""
APPEND = insert(LEDGER).from_select([column.key for column in SAID], select(given_rows(*SAID)))
LEDGERS = (
    select(
        RewardEntry.conversation_id,
        RewardEntry.id,
        RewardEntry.turn_id,
        RewardEntry.metric,
        RewardEntry.source,
        RewardEntry.value,
        RewardEntry.supersedes,
        RewardEntry.retracts,
    )
    .where(is_among_given(RewardEntry.conversation_id, "conversation_ids"))
    .order_by(RewardEntry.sequence)
)
NAMED = given_rows(IdempotencyKey.agent_id, IdempotencyKey.key)
USED_KEYS = (
    select(IdempotencyKey)
    .join(NAMED, and_(IdempotencyKey.agent_id == NAMED.c.agent_id, IdempotencyKey.key == NAMED.c.key))
    .execution_options(populate_existing=True)
)
CLAIMED = given_rows(IdempotencyKey.agent_id, IdempotencyKey.key, IdempotencyKey.body_hash, IdempotencyKey.answer)
CLAIM_KEYS = (
    insert(KEYS)
    .from_select(["agent_id", "key", "body_hash", "answer"], select(CLAIMED))
    .on_conflict_do_nothing()
    .returning(IdempotencyKey.agent_id, IdempotencyKey.key)
)
ANSWERED = given_rows(IdempotencyKey.agent_id, IdempotencyKey.key, IdempotencyKey.answer)
ANSWER_KEYS = (
    update(KEYS)
    .where(IdempotencyKey.agent_id == ANSWERED.c.agent_id, IdempotencyKey.key == ANSWERED.c.key)
    .values(answer=ANSWERED.c.answer)
)


async def list_entries(session: AsyncSession, conversation_id: UUID) -> Sequence[RewardEntry]:
    """All entries about a conversation and its turns, in the ledger's order."""
    statement = select(RewardEntry).where(RewardEntry.conversation_id == conversation_id).order_by(RewardEntry.sequence)
    return (await session.scalars(statement)).all()


async def list_entries_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> Sequence[RewardEntry]:
    """All entries about several conversations, in the ledger's order."""
    statement = select(RewardEntry).where(is_among(RewardEntry.conversation_id, conversation_ids))
    return (await session.scalars(statement.order_by(RewardEntry.sequence))).all()


async def ledgers_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> dict[UUID, list[Entry]]:
    """The same as the domain folds them, by conversation; one without entries is not there."""
    found: dict[UUID, list[Entry]] = defaultdict(list)
    for conversation, *fields in await session.execute(LEDGERS, {"conversation_ids": list(conversation_ids)}):
        found[conversation].append(Entry(*fields))
    return found


async def add_entries(session: AsyncSession, entries: Sequence[RewardEntry]) -> None:
    """Append to the ledger, in this order, by one statement."""
    if entries:
        given = as_given({column: [getattr(entry, column.key) for entry in entries] for column in SAID})
        await session.execute(APPEND, given)


async def add_demonstrations(session: AsyncSession, entries: Sequence[RewardEntry]) -> None:
    """Let learners find these entries: each says which reply its turn should have been given."""
    session.add_all(Demonstration(entry_id=entry.id, agent_id=entry.agent_id) for entry in entries)
    await session.flush()


async def list_demonstrations(
    session: AsyncSession, agent_id: UUID, *, limit: int
) -> list[tuple[Demonstration, RewardEntry]]:
    """The agent's newest, each with its entry, standing or not."""
    statement = (
        select(Demonstration, RewardEntry)
        .join(RewardEntry, RewardEntry.id == Demonstration.entry_id)
        .where(Demonstration.agent_id == agent_id)
        .order_by(Demonstration.entry_id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in await session.execute(statement)]


async def count_demonstrations_since(session: AsyncSession, agent_id: UUID, since: datetime | None) -> int:
    """How many were given after a time, by their ids."""
    statement = select(func.count()).where(Demonstration.agent_id == agent_id)
    if since is not None:
        statement = statement.where(Demonstration.entry_id >= first_id_at(since))
    return (await session.scalar(statement)) or 0


async def keep_demonstrated_tokens(session: AsyncSession, base_model: str, completions: Mapping[UUID, bytes]) -> None:
    """Keep what a model's tokenizer has made of these entries, so that no other tokenizer ever makes it anew."""
    for entry_id in sorted(completions):
        await session.execute(
            update(Demonstration)
            .where(Demonstration.entry_id == entry_id)
            .values(base_model=base_model, completion=completions[entry_id])
        )


async def find_entry(session: AsyncSession, entry_id: UUID) -> RewardEntry | None:
    return await session.get(RewardEntry, entry_id)


async def list_keys(session: AsyncSession, names: Collection[KeyName]) -> dict[KeyName, IdempotencyKey]:
    """Those of the keys that are used up, with what they stand for."""
    if not names:
        return {}
    agents, keys = zip(*names, strict=True)
    given = as_given({IdempotencyKey.agent_id: agents, IdempotencyKey.key: keys})
    return {(row.agent_id, row.key): row for row in await session.scalars(USED_KEYS, given)}


async def claim_keys(session: AsyncSession, body_hashes: Mapping[KeyName, bytes]) -> set[KeyName]:
    """Take idempotency keys for this transaction; gives back which were free.

    Another request with one of the keys waits here until the first has committed or rolled back; keys are taken in
    their order, so that two requests never wait for each other.
    """
    if not body_hashes:
        return set()
    ordered = sorted(body_hashes)
    given = as_given(
        {
            IdempotencyKey.agent_id: [agent_id for agent_id, _ in ordered],
            IdempotencyKey.key: [key for _, key in ordered],
            IdempotencyKey.body_hash: [body_hashes[name] for name in ordered],
            IdempotencyKey.answer: [{}] * len(ordered),
        }
    )
    return {(row.agent_id, row.key) for row in await session.execute(CLAIM_KEYS, given)}


async def answer_keys(session: AsyncSession, answers: Mapping[KeyName, dict[str, Any]]) -> None:
    """Store what each claimed key's request was told."""
    if not answers:
        return
    given = as_given(
        {
            IdempotencyKey.agent_id: [agent_id for agent_id, _ in answers],
            IdempotencyKey.key: [key for _, key in answers],
            IdempotencyKey.answer: list(answers.values()),
        }
    )
    await session.execute(ANSWER_KEYS, given)


async def list_by_id(session: AsyncSession, entry_ids: Collection[UUID]) -> dict[UUID, RewardEntry]:
    statement = select(RewardEntry).where(is_among(RewardEntry.id, entry_ids))
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

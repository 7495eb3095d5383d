"""What an erasure looks up and takes away, set by set; the one place that deletes from the ledger.

Sets go to Postgres as one array, whatever their size: a list of parameters would end at 65,535.
"""

from collections.abc import Collection, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    LargeBinary,
    Text,
    Uuid,
    all_,
    and_,
    any_,
    delete,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from core.domain import ids
from core.storage.models import (
    Conversation,
    DeadLetter,
    Demonstration,
    Episode,
    Erasure,
    IdempotencyKey,
    RewardEntry,
    RunTurn,
    Tombstone,
    Turn,
    TurnTokens,
)
from core.storage.repositories.arrays import is_among

CHANNEL = "nock_erasures"
"""Postgres channel on which the ids of erased conversations reach every gateway's memory."""
IDS_A_NOTICE = 200
"""Of 32 digits each: a notice holds less than 8,000 bytes."""


def _named(column: ColumnElement[str], names: Collection[str]) -> ColumnElement[bool]:
    return column == any_(literal(list(names), ARRAY(Text)))


def _entry(column: InstrumentedAttribute[Any], name: str) -> ColumnElement[str]:
    """A JSON object's entry as its index spells it: with a parameter in place of the name no index would be used."""
    return column.op("->>", return_type=Text())(literal_column(f"'{name}'"))


async def list_of_user(session: AsyncSession, agent_ids: Collection[UUID], end_user: str) -> Sequence[UUID]:
    statement = select(Conversation.id).where(Conversation.end_user == end_user)
    return (await session.scalars(statement.where(is_among(Conversation.agent_id, agent_ids)))).all()


async def list_repeating(session: AsyncSession, conversation_ids: Collection[UUID]) -> set[UUID]:
    """Other conversations that hold what was said in these ones.

    They are branches; turns whose prompt is stored as the beginning of one of theirs; and turns that brought along a
    history which ends in none of the conversations that would stay. A history that a stranger's conversation has word
    for word, behind the same key, is not theirs alone.
    """
    theirs = select(Turn.id).where(is_among(Turn.conversation_id, conversation_ids))
    ended, later, other = aliased(Turn), aliased(Turn), aliased(Turn)
    stays = other.conversation_id != all_(literal(list(conversation_ids), ARRAY(Uuid)))
    is_elsewhere = exists().where(other.agent_id == ended.agent_id, other.head_hash == ended.head_hash, stays)
    brought = (
        select(later.conversation_id)
        .join(ended, and_(ended.agent_id == later.agent_id, ended.head_hash == later.previous_head))
        .where(is_among(ended.conversation_id, conversation_ids), ~is_elsewhere)
    )
    statement = union(
        select(Conversation.id).where(is_among(Conversation.parent_id, conversation_ids)),
        select(Turn.conversation_id)
        .join(TurnTokens, TurnTokens.turn_id == Turn.id)
        .where(TurnTokens.prefix_turn_id.in_(theirs)),
        brought,
    )
    return set((await session.scalars(statement)).all()) - set(conversation_ids)


async def list_turn_ids(session: AsyncSession, conversation_ids: Collection[UUID]) -> Sequence[UUID]:
    return (await session.scalars(select(Turn.id).where(is_among(Turn.conversation_id, conversation_ids)))).all()


async def list_entry_ids(session: AsyncSession, conversation_ids: Collection[UUID]) -> Sequence[UUID]:
    statement = select(RewardEntry.id).where(is_among(RewardEntry.conversation_id, conversation_ids))
    return (await session.scalars(statement)).all()


async def count_lessons(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, int]:
    """The runs that turns of these conversations taught, and how many turns it were."""
    statement = (
        select(RunTurn.run_id, func.count())
        .join(Turn, Turn.id == RunTurn.turn_id)
        .where(is_among(Turn.conversation_id, conversation_ids))
        .group_by(RunTurn.run_id)
        .order_by(RunTurn.run_id)
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def remove_dead_letters(
    session: AsyncSession, agent: str, *, conversations: Collection[str], turns: Collection[str]
) -> int:
    """Those that name one of these and may have meant this agent."""
    about = or_(
        _named(_entry(DeadLetter.body, "conversation_id"), conversations),
        _named(_entry(DeadLetter.body, "turn_id"), turns),
    )
    asked_for = _entry(DeadLetter.body, "agent")
    meant = or_(asked_for.is_(None), asked_for == agent)
    may_see = or_(DeadLetter.agents.is_(None), DeadLetter.agents.contains([agent]))
    return await _count(session, delete(DeadLetter).where(about, meant, may_see))


async def remove(session: AsyncSession, agent_id: UUID, conversation_ids: Collection[UUID]) -> dict[str, int]:
    """Take these conversations of an agent out of every table; the rows that went, by table."""
    turns = select(Turn.id).where(is_among(Turn.conversation_id, conversation_ids))
    entries = select(RewardEntry.id).where(is_among(RewardEntry.conversation_id, conversation_ids))
    public = [ids.public(ids.Prefix.CONVERSATION, one) for one in conversation_ids]
    used = and_(IdempotencyKey.agent_id == agent_id, _named(_entry(IdempotencyKey.answer, "conversation_id"), public))
    steps: dict[str, Delete] = {
        "run_turns": delete(RunTurn).where(RunTurn.turn_id.in_(turns)),
        "turn_tokens": delete(TurnTokens).where(TurnTokens.turn_id.in_(turns)),
        "demonstrations": delete(Demonstration).where(Demonstration.entry_id.in_(entries)),
        "turns": delete(Turn).where(is_among(Turn.conversation_id, conversation_ids)),
        "reward_entries": delete(RewardEntry).where(is_among(RewardEntry.conversation_id, conversation_ids)),
        "idempotency_keys": delete(IdempotencyKey).where(used),
        "episodes": delete(Episode).where(is_among(Episode.conversation_id, conversation_ids)),
        "conversations": delete(Conversation).where(is_among(Conversation.id, conversation_ids)),
    }
    return {table: await _count(session, step) for table, step in steps.items()}


async def _count(session: AsyncSession, step: Delete) -> int:
    result = await session.execute(step.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", result).rowcount


async def add_erasure(session: AsyncSession, erasure: Erasure) -> Erasure:
    session.add(erasure)
    await session.flush()
    await session.refresh(erasure)
    return erasure


async def find_erasure(session: AsyncSession, erasure_id: UUID) -> Erasure | None:
    return await session.get(Erasure, erasure_id)


async def list_erasures(
    session: AsyncSession, *, agents: Collection[str] | None, after: UUID | None, limit: int
) -> Sequence[Erasure]:
    """Newest first; those that took something from one of `agents` (None: all of them)."""
    statement = select(Erasure).order_by(Erasure.id.desc()).limit(limit)
    if after is not None:
        statement = statement.where(Erasure.id < after)
    if agents is not None:
        statement = statement.where(Erasure.agents.bool_op("&&")(literal(sorted(agents), ARRAY(Text))))
    return (await session.scalars(statement)).all()


async def add_tombstones(session: AsyncSession, hashes: Collection[bytes], *, agent_id: UUID, erasure_id: UUID) -> None:
    """One that is there already, of a user who came back, stands for the newer erasure from now on."""
    rows = select(func.unnest(literal(list(hashes), ARRAY(LargeBinary))), literal(agent_id), literal(erasure_id))
    statement = insert(Tombstone).from_select(["hash", "agent_id", "erasure_id"], rows)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["hash"], set_={"erasure_id": statement.excluded.erasure_id}
        ).execution_options(synchronize_session=False)
    )


async def list_tombstones(session: AsyncSession, hashes: Collection[bytes]) -> dict[bytes, Tombstone]:
    if not hashes:
        return {}
    statement = select(Tombstone).where(Tombstone.hash == any_(literal(list(hashes), ARRAY(LargeBinary))))
    return {stone.hash: stone for stone in await session.scalars(statement)}


async def announce(session: AsyncSession, conversation_ids: Sequence[UUID]) -> None:
    """Have every gateway forget these conversations when this transaction commits."""
    for first in range(0, len(conversation_ids), IDS_A_NOTICE):
        notice = ",".join(one.hex for one in conversation_ids[first : first + IDS_A_NOTICE])
        await session.execute(select(func.pg_notify(CHANNEL, notice)))

"""Conversations and episodes."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.errors import GoneError
from core.domain.metrics import DAY_SECONDS
from core.storage.models import Agent, Conversation, Episode, Turn
from core.storage.repositories.arrays import is_among, is_among_given


async def find_conversation(session: AsyncSession, agent_id: UUID, external_id: str) -> Conversation | None:
    found: Conversation | None = await session.scalar(
        select(Conversation).where(Conversation.agent_id == agent_id, Conversation.external_id == external_id)
    )
    return found


async def find_conversation_by_id(session: AsyncSession, conversation_id: UUID) -> Conversation | None:
    return await session.get(Conversation, conversation_id)


async def get_conversation(session: AsyncSession, conversation_id: UUID) -> Conversation:
    return await session.get_one(Conversation, conversation_id)


async def list_by_id(session: AsyncSession, conversation_ids: Collection[UUID]) -> Sequence[Conversation]:
    return (await session.scalars(select(Conversation).where(is_among(Conversation.id, conversation_ids)))).all()


async def list_ending_in(session: AsyncSession, agent_id: UUID, head: bytes) -> Sequence[Conversation]:
    """Conversations whose latest turn has that head; two are enough to know that it is ambiguous."""
    statement = select(Conversation).where(Conversation.agent_id == agent_id, Conversation.head_hash == head)
    return (await session.scalars(statement.limit(2))).all()


async def find_turn_after(session: AsyncSession, agent_id: UUID, head: bytes) -> Turn | None:
    """The newest turn that once continued that head."""
    statement = select(Turn).where(Turn.agent_id == agent_id, Turn.previous_head == head).order_by(Turn.id.desc())
    found: Turn | None = await session.scalar(statement.limit(1))
    return found


async def list_answers(
    session: AsyncSession, agent_id: UUID, head: bytes, request: bytes, conversation_id: UUID | None
) -> Sequence[Turn]:
    """Turns that answered this very request, newest first; only those of one conversation where it is named."""
    statement = select(Turn).where(Turn.agent_id == agent_id, Turn.previous_head == head, Turn.request_hash == request)
    if conversation_id is not None:
        statement = statement.where(Turn.conversation_id == conversation_id)
    return (await session.scalars(statement.order_by(Turn.id.desc()).limit(8))).all()


async def add_conversation(session: AsyncSession, conversation: Conversation) -> Conversation | None:
    """Insert unless the client's id is taken by another request of the same moment; then None."""
    columns = {
        column.key: getattr(conversation, column.key)
        for column in Conversation.__table__.columns
        if getattr(conversation, column.key) is not None
    }
    found: Conversation | None = await session.scalar(
        insert(Conversation)
        .values(columns)
        .on_conflict_do_nothing(index_elements=["agent_id", "external_id"])
        .returning(Conversation)
    )
    return found


async def lock_conversation(session: AsyncSession, conversation_id: UUID) -> Conversation:
    """The row, locked and read afresh: whoever changes state or adds outcomes holds this.

    Raises GoneError where it was erased since the caller heard of it.
    """
    statement = select(Conversation).where(Conversation.id == conversation_id).with_for_update()
    found: Conversation | None = await session.scalar(statement.execution_options(populate_existing=True))
    if found is None:
        raise GoneError("This conversation was erased.", code="conversation_erased")
    return found


LOCK = (
    select(Conversation)
    .where(is_among_given(Conversation.id, "ids"))
    .order_by(Conversation.id)
    .with_for_update()
    .execution_options(populate_existing=True)
)


async def lock_conversations(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, Conversation]:
    """The rows, locked one after the other in the order of their ids, so that two such requests never block each
    other for ever. One that was erased is missing."""
    locked = await session.scalars(LOCK, {"ids": list(conversation_ids)})
    return {row.id: row for row in locked}


async def keep(session: AsyncSession, conversation_ids: Collection[UUID]) -> set[UUID]:
    """Those that are still there, kept from being erased until this transaction ends; they may be spoken in."""
    statement = select(Conversation.id).where(is_among(Conversation.id, conversation_ids)).order_by(Conversation.id)
    return set((await session.scalars(statement.with_for_update(read=True, key_share=True))).all())


async def newest_episode(session: AsyncSession, conversation_id: UUID) -> Episode | None:
    statement = select(Episode).where(Episode.conversation_id == conversation_id).order_by(Episode.ordinal.desc())
    found: Episode | None = await session.scalar(statement.limit(1))
    return found


async def get_episode(session: AsyncSession, episode_id: UUID) -> Episode:
    return await session.get_one(Episode, episode_id)


async def list_episodes(session: AsyncSession, conversation_id: UUID) -> Sequence[Episode]:
    statement = select(Episode).where(Episode.conversation_id == conversation_id).order_by(Episode.ordinal)
    return (await session.scalars(statement)).all()


async def list_episodes_of(session: AsyncSession, conversation_ids: Iterable[UUID]) -> Sequence[Episode]:
    """The episodes of several conversations, each conversation's in order."""
    statement = select(Episode).where(Episode.conversation_id.in_(list(conversation_ids)))
    return (await session.scalars(statement.order_by(Episode.conversation_id, Episode.ordinal))).all()


async def add_episode(session: AsyncSession, episode: Episode) -> Episode:
    """Insert, or return the one that another request put at the same place first."""
    columns = {
        column.key: getattr(episode, column.key)
        for column in Episode.__table__.columns
        if getattr(episode, column.key) is not None
    }
    await session.execute(
        insert(Episode).values(columns).on_conflict_do_nothing(index_elements=["conversation_id", "ordinal"])
    )
    found: Episode = (
        await session.scalars(
            select(Episode).where(
                Episode.conversation_id == episode.conversation_id, Episode.ordinal == episode.ordinal
            )
        )
    ).one()
    return found


async def count_turns_of_newest(session: AsyncSession, conversation_ids: Collection[UUID]) -> dict[UUID, int]:
    """The turns of each one's newest episode."""
    statement = (
        select(Episode.conversation_id, Episode.turn_count)
        .where(is_among(Episode.conversation_id, conversation_ids))
        .ext(distinct_on(Episode.conversation_id))
        .order_by(Episode.conversation_id, Episode.ordinal.desc())
    )
    return {row[0]: row[1] for row in await session.execute(statement)}


async def end_episodes(session: AsyncSession, conversation_ids: Collection[UUID], ended_by: EpisodeEnd) -> None:
    """End what is open; an episode that ended before keeps its reason."""
    await _end_all(session, is_among(Episode.conversation_id, conversation_ids), ended_by)


async def end_episode(session: AsyncSession, episode_id: UUID, ended_by: EpisodeEnd) -> None:
    await session.execute(
        update(Episode)
        .where(Episode.id == episode_id, Episode.ended_at.is_(None))
        .values(ended_at=func.now(), ended_by=ended_by)
    )


async def end_episodes_of_adapter(session: AsyncSession, adapter_id: UUID, ended_by: EpisodeEnd) -> int:
    return await _end_all(session, Episode.adapter_id == adapter_id, ended_by)


async def _end_all(session: AsyncSession, which: ColumnElement[bool], ended_by: EpisodeEnd) -> int:
    """How many were open. They are locked in the order of their ids: else two such requests may wait for each other."""
    is_open = Episode.ended_at.is_(None)
    found = await session.scalars(select(Episode.id).where(which, is_open).order_by(Episode.id).with_for_update())
    locked = found.all()
    await session.execute(
        update(Episode).where(is_among(Episode.id, locked), is_open).values(ended_at=func.now(), ended_by=ended_by)
    )
    return len(locked)


async def list_idle(session: AsyncSession, *, limit: int) -> Sequence[UUID]:
    """Open conversations that nobody has touched for as long as their agent waits."""
    statement = (
        select(Conversation.id)
        .join(Agent, Agent.id == Conversation.agent_id)
        .where(*_is_idle())
        .order_by(Conversation.last_turn_at)
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def lock_idle(session: AsyncSession, conversation_id: UUID) -> Conversation | None:
    """The row, locked and read afresh, if it still is open and idle; None when somebody spoke meanwhile."""
    statement = (
        select(Conversation)
        .join(Agent, Agent.id == Conversation.agent_id)
        .where(Conversation.id == conversation_id, *_is_idle())
        .with_for_update(of=Conversation)
        .execution_options(populate_existing=True)
    )
    found: Conversation | None = await session.scalar(statement)
    return found


def _is_idle() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    patience = func.make_interval(0, 0, 0, 0, 0, 0, Agent.idle_seconds)
    return Conversation.state == ConversationState.OPEN, Conversation.last_turn_at < func.now() - patience


Place = tuple[datetime, UUID]
"""When a conversation's last turn was, and its id."""


async def list_expired(session: AsyncSession, agent_id: UUID, *, after: Place | None, limit: int) -> Sequence[Place]:
    """Ended conversations whose last turn lies further back than their agent keeps them, the longest ago first."""
    statement = (
        select(Conversation.last_turn_at, Conversation.id)
        .join(Agent, Agent.id == Conversation.agent_id)
        .where(Conversation.agent_id == agent_id, *_is_expired())
        .order_by(Conversation.last_turn_at, Conversation.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(Conversation.last_turn_at, Conversation.id) > after)
    return [(row[0], row[1]) for row in await session.execute(statement)]


async def lock_expired(session: AsyncSession, conversation_ids: Collection[UUID]) -> set[UUID]:
    """Those that still have expired, locked in the order of their ids."""
    statement = (
        select(Conversation.id)
        .join(Agent, Agent.id == Conversation.agent_id)
        .where(Conversation.id.in_(conversation_ids), *_is_expired())
        .order_by(Conversation.id)
        .with_for_update(of=Conversation)
    )
    return set((await session.scalars(statement)).all())


def _is_expired() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    kept = func.make_interval(0, 0, 0, 0, 0, 0, Agent.retention_days * DAY_SECONDS)
    return Conversation.state != ConversationState.OPEN, Conversation.last_turn_at < func.now() - kept


async def list_unsettled(session: AsyncSession, now: datetime, *, limit: int) -> Sequence[UUID]:
    """Ended conversations that time alone may have changed, and those settled by an older reward version; `limit` of
    each at most."""
    has_ended = Conversation.state != ConversationState.OPEN
    due = select(Conversation.id).where(has_ended, Conversation.due_at <= now).order_by(Conversation.due_at)
    outdated = (
        select(Conversation.id)
        .join(Agent, Agent.id == Conversation.agent_id)
        .where(has_ended, Conversation.reward_version < Agent.reward_version)
    )
    found = [(await session.scalars(which.limit(limit))).all() for which in (due, outdated)]
    return list(dict.fromkeys([*found[0], *found[1]]))


async def count_matured_since(session: AsyncSession, agent_id: UUID, since: datetime | None) -> int:
    """Conversations that came to have an outcome after `since`."""
    statement = select(func.count()).where(
        Conversation.agent_id == agent_id, Conversation.state == ConversationState.MATURED
    )
    if since is not None:
        statement = statement.where(Conversation.matured_at > since)
    return (await session.scalar(statement)) or 0


async def list_opened(
    session: AsyncSession, agent_id: UUID, *, since: datetime | None, before: datetime, after: UUID | None, limit: int
) -> Sequence[Conversation]:
    """The agent's conversations that were opened in that time, in the order of their ids from behind `after`."""
    statement = select(Conversation).where(*_opened(agent_id, since, before)).order_by(Conversation.id).limit(limit)
    if after is not None:
        statement = statement.where(Conversation.id > after)
    return (await session.scalars(statement)).all()


async def count_opened(session: AsyncSession, agent_id: UUID, *, since: datetime | None, before: datetime) -> int:
    return (await session.scalar(select(func.count()).where(*_opened(agent_id, since, before)))) or 0


def _opened(agent_id: UUID, since: datetime | None, before: datetime) -> list[ColumnElement[bool]]:
    opened = [Conversation.agent_id == agent_id, Conversation.opened_at < before]
    return opened if since is None else [*opened, Conversation.opened_at >= since]

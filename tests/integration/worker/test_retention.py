"""Retention: what is older than its agent keeps it goes, and nothing that anybody may still speak in."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.signatures import Signer
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import conversations, erasures
from tests.fixtures.builders import create_agent, create_conversation, create_entry, create_episode, create_turn
from tests.fixtures.traces import traces_of
from worker import retention

SIGNER = Signer("a secret of the worker's, and the gateway's")
NOW = datetime.now(UTC)


async def conversation_of(
    database: Database,
    agent: models.Agent,
    *,
    days: float,
    state: ConversationState = ConversationState.MATURED,
    parent: models.Conversation | None = None,
) -> models.Conversation:
    """One whose last turn was so many days ago."""
    spoken = NOW - timedelta(days=days)
    conversation = await create_conversation(database, agent, state=state, last_turn_at=spoken, parent=parent)
    ended = None if state is ConversationState.OPEN else EpisodeEnd.CLOSED
    await create_turn(database, await create_episode(database, conversation, ended_by=ended), say="harmonica")
    await create_entry(database, conversation, 1.0)
    return conversation


async def left(database: Database) -> set[object]:
    async with database.transaction() as session:
        return set((await session.scalars(select(models.Conversation.id))).all())


async def test_conversations_go_once_their_last_turn_is_older_than_their_agent_keeps_them(database: Database) -> None:
    agent, keeper = await create_agent(database, retention_days=30), await create_agent(database, "keeper")
    old = await conversation_of(database, agent, days=31)
    young = await conversation_of(database, agent, days=29)
    others = await conversation_of(database, keeper, days=1000)
    assert await retention.erase_expired(database, SIGNER) == 1
    assert await left(database) == {young.id, others.id}
    assert await traces_of(database, str(old.id)) == []
    async with database.transaction() as session:
        (report,) = await erasures.list_erasures(session, agents=None, after=None, limit=9)
    assert (report.subject, report.by, report.parts[0]["removed"]["reward_entries"]) == ("retention", "retention", 1)
    assert await retention.erase_expired(database, SIGNER) == 0
    async with database.transaction() as session:
        assert len(await erasures.list_erasures(session, agents=None, after=None, limit=9)) == 1


async def test_an_open_conversation_stays_however_old(database: Database) -> None:
    agent = await create_agent(database, retention_days=1)
    conversation = await conversation_of(database, agent, days=9, state=ConversationState.OPEN)
    assert await retention.erase_expired(database, SIGNER) == 0
    assert await left(database) == {conversation.id}


async def test_a_conversation_waits_for_the_branches_that_repeat_it(database: Database) -> None:
    agent = await create_agent(database, retention_days=30)
    repeated = await conversation_of(database, agent, days=90)
    branch = await conversation_of(database, agent, days=1, parent=repeated)
    alone = await conversation_of(database, agent, days=90)
    assert await retention.erase_expired(database, SIGNER) == 1
    assert await left(database) == {repeated.id, branch.id}
    assert alone.id not in await left(database)
    async with database.transaction() as session:
        (await session.get_one(models.Conversation, branch.id)).last_turn_at = NOW - timedelta(days=31)
    assert await retention.erase_expired(database, SIGNER) == 2


async def test_whoever_returns_first_keeps_the_conversation(database: Database) -> None:
    agent = await create_agent(database, retention_days=30)
    conversation = await conversation_of(database, agent, days=90)
    async with database.transaction() as session:  # as a turn takes its place
        locked = await conversations.lock_conversation(session, conversation.id)
        locked.state, locked.last_turn_at = ConversationState.OPEN, NOW
        await session.flush()
        erasing = asyncio.create_task(retention.erase_expired(database, SIGNER))
        await asyncio.sleep(0.3)
        assert not erasing.done()
    assert await erasing == 0
    assert await left(database) == {conversation.id}


async def test_more_than_a_batch_goes_in_one_tick_past_those_that_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    agent = await create_agent(database, retention_days=30)
    for number in range(3):
        repeated = await conversation_of(database, agent, days=100 - number)
        await conversation_of(database, agent, days=1, parent=repeated)
    for number in range(5):
        await conversation_of(database, agent, days=90 - number)
    assert await retention.erase_expired(database, SIGNER) == 5
    assert len(await left(database)) == 6


async def test_two_workers_at_once_erase_each_conversation_once(database: Database) -> None:
    agent = await create_agent(database, retention_days=30)
    for _ in range(8):
        await conversation_of(database, agent, days=90)
    counts = await asyncio.gather(*(retention.erase_expired(database, SIGNER) for _ in range(3)))
    assert sum(counts) == 8
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(models.Erasure)) == 1

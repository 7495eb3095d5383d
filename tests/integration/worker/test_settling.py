"""Outcomes mature and expire as their windows pass, and follow the metrics when these change."""

from datetime import UTC, datetime, timedelta

from core.domain.conversations import ConversationState
from core.domain.metrics import Metric
from core.outcomes import settling
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import agents, conversations
from tests.fixtures.builders import create_agent, create_conversation, create_entry, create_episode, create_turn
from tests.fixtures.replay import read_all
from worker import housekeeping

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RESOLVED = Metric("resolved", window_seconds=DAY.total_seconds())


async def ended(
    database: Database, agent: models.Agent, value: float | None = None, **entry: str
) -> models.Conversation:
    """A conversation of one turn that has just idled out."""
    conversation = await create_conversation(database, agent, last_turn_at=LONG_AGO)
    await create_turn(database, await create_episode(database, conversation))
    if value is not None:
        await create_entry(database, conversation, value, **entry)
    await housekeeping.close_idle(database)
    return await read(database, conversation)


async def read(database: Database, conversation: models.Conversation) -> models.Conversation:
    async with database.transaction() as session:
        return await session.get_one(models.Conversation, conversation.id)


async def after(database: Database, conversation: models.Conversation, waited: timedelta) -> models.Conversation:
    """The conversation once housekeeping has looked, so long after its end."""
    assert conversation.closed_at is not None
    await housekeeping.settle_due(database, now=conversation.closed_at + waited)
    return await read(database, conversation)


async def returns(database: Database, agent: models.Agent) -> list[float]:
    """What replay has each matured conversation earn."""
    return [sum(history.rewards) for history in await read_all(database, agent) if history.is_finished]


async def test_an_outcome_that_never_comes_expires_with_its_window_and_is_no_zero(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED], idle_seconds=1800)
    conversation = await ended(database, agent)
    assert conversation.state is ConversationState.AWAITING
    early = await after(database, conversation, DAY - HOUR)
    assert (early.state, early.due_at) == (ConversationState.AWAITING, conversation.closed_at + DAY)
    late = await after(database, conversation, DAY)
    assert (late.state, late.due_at, late.matured_at) == (ConversationState.EXPIRED, None, None)
    assert await returns(database, agent) == []


async def test_a_value_after_the_window_turns_expired_into_matured(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED], idle_seconds=1800)
    conversation = await after(database, await ended(database, agent), DAY)
    await create_entry(database, conversation, 1.0, metric="resolved")
    async with database.transaction() as session:
        locked = await conversations.lock_conversation(session, conversation.id)
        metrics = await settling.metrics_of(session, [locked])
        assert locked.closed_at is not None
        await settling.settle(session, [locked], metrics, locked.closed_at + 2 * DAY, news={locked.id})
    assert (await read(database, conversation)).state is ConversationState.MATURED
    assert await returns(database, agent) == [1.0]


async def test_what_an_absent_value_means_is_paid_once_its_window_has_passed(database: Database) -> None:
    tip = Metric("tip", weight=2.0, required=False, window_seconds=0.0, missing=0.5)
    agent = await create_agent(database, metrics=[RESOLVED, tip], idle_seconds=1800)
    conversation = await ended(database, agent, 1.0, metric="resolved")
    assert conversation.state is ConversationState.MATURED
    assert await returns(database, agent) == [1.0 + 2.0 * 0.5]


async def test_a_reward_that_time_changes_is_news_to_the_learner(database: Database) -> None:
    tip = Metric("tip", required=False, window_seconds=HOUR.total_seconds(), missing=-0.5)
    agent = await create_agent(database, metrics=[RESOLVED, tip], idle_seconds=1800)
    conversation = await ended(database, agent, 1.0, metric="resolved")
    assert conversation.due_at == conversation.closed_at + HOUR
    assert (await after(database, conversation, HOUR - timedelta(seconds=1))).matured_at == conversation.matured_at
    changed = await after(database, conversation, HOUR)
    assert changed.matured_at == conversation.closed_at + HOUR
    assert changed.due_at is None


async def test_what_fell_due_is_news_whoever_settles_it_first(database: Database) -> None:
    tip = Metric("tip", required=False, window_seconds=HOUR.total_seconds(), missing=-0.5)
    agent = await create_agent(database, metrics=[RESOLVED, tip], idle_seconds=1800)
    conversation = await ended(database, agent, 1.0, metric="resolved")
    assert conversation.closed_at is not None
    async with database.transaction() as session:
        locked = await conversations.lock_conversation(session, conversation.id)
        declared = await settling.metrics_of(session, [locked])
        await settling.settle(session, [locked], declared, conversation.closed_at + HOUR, news=())
        assert locked.matured_at == conversation.closed_at + HOUR


async def test_metrics_that_change_while_a_conversation_is_settled_settle_it_once_more(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED], idle_seconds=1800)
    conversation = await ended(database, agent, 1.0, metric="resolved")
    async with database.transaction() as session:
        locked = await conversations.lock_conversation(session, conversation.id)
        declared = await settling.metrics_of(session, [locked])
        async with database.transaction() as other:
            both = [RESOLVED, Metric("stars")]
            await agents.declare_metrics(other, await agents.lock_agent(other, agent.name), both)
        await settling.settle(session, [locked], declared, datetime.now(UTC), news=())
    assert (
        await read(database, conversation)
    ).state is ConversationState.MATURED  # by the metrics that it was read with
    assert await housekeeping.settle_due(database) == 1
    assert (await read(database, conversation)).state is ConversationState.AWAITING


async def test_changed_metrics_settle_what_has_ended_again_and_rewrite_no_entry(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED], idle_seconds=1800)
    conversation = await ended(database, agent, 3.0, metric="stars")
    assert conversation.state is ConversationState.AWAITING
    async with database.transaction() as session:
        locked = await agents.lock_agent(session, agent.name)
        version = locked.reward_version
        await agents.declare_metrics(session, locked, [Metric("stars", weight=0.5)])
        assert locked.reward_version == version + 1
        await agents.declare_metrics(session, locked, [Metric("stars", weight=0.5)])
        assert locked.reward_version == version + 1  # nothing changed
    assert await housekeeping.settle_due(database) == 1
    settled = await read(database, conversation)
    assert (settled.state, settled.reward_version) == (ConversationState.MATURED, version + 1)
    assert await returns(database, agent) == [1.5]
    assert await housekeeping.settle_due(database) == 0


async def test_what_matured_before_the_metrics_changed_is_no_news_for_it(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED], idle_seconds=1800)
    conversation = await ended(database, agent, 1.0, metric="resolved")
    async with database.transaction() as session:
        heavier = [Metric("resolved", weight=4.0, window_seconds=DAY.total_seconds())]
        await agents.declare_metrics(session, await agents.lock_agent(session, agent.name), heavier)
    assert await housekeeping.settle_due(database) == 1
    assert (await read(database, conversation)).matured_at == conversation.matured_at
    assert await returns(database, agent) == [4.0]


async def test_an_open_conversation_is_never_due(database: Database) -> None:
    agent = await create_agent(database, metrics=[RESOLVED])
    await create_conversation(database, agent)
    assert await housekeeping.settle_due(database, now=datetime.now(UTC) + 365 * DAY) == 0

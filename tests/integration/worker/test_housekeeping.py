"""Idle conversations end, old dead letters go, and one process at a time looks after the engines."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.ids import new_id
from core.domain.metrics import Metric
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import learner, turns
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_entry,
    create_episode,
    create_turn,
)
from tests.fixtures.conversations import create_matured
from tests.fixtures.runs import queue_run
from worker import housekeeping, rollout

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
NOBODY = EngineSettings(engine_urls="http://127.0.0.1:9", engine_connect_seconds=0.2)


async def idle_conversation(database: Database, agent: models.Agent) -> models.Conversation:
    conversation = await create_conversation(database, agent, last_turn_at=LONG_AGO)
    await create_turn(database, await create_episode(database, conversation))
    return conversation


async def read(database: Database, conversation: models.Conversation) -> tuple[models.Conversation, models.Episode]:
    async with database.transaction() as session:
        episode = await session.scalars(select(models.Episode).where(models.Episode.conversation_id == conversation.id))
        return await session.get_one(models.Conversation, conversation.id), episode.one()


async def test_an_idle_conversation_ends_and_awaits_its_outcome(database: Database) -> None:
    agent = await create_agent(database, idle_seconds=1800)
    idle = await idle_conversation(database, agent)
    lively = await create_conversation(database, agent)
    await create_episode(database, lively)
    assert await housekeeping.close_idle(database) == 1
    conversation, episode = await read(database, idle)
    assert conversation.state is ConversationState.AWAITING
    assert conversation.closed_at is not None
    assert episode.ended_by is EpisodeEnd.IDLE
    conversation, episode = await read(database, lively)
    assert conversation.state is ConversationState.OPEN
    assert episode.ended_at is None
    assert await housekeeping.close_idle(database) == 0


async def test_an_idle_conversation_with_its_outcome_matures(database: Database) -> None:
    agent = await create_agent(database, metrics=[Metric("resolved"), Metric("mood", required=False)])
    rated, moody = await idle_conversation(database, agent), await idle_conversation(database, agent)
    await create_entry(database, rated, 1.0, metric="resolved")
    await create_entry(database, moody, 1.0, metric="mood")  # the required one is missing
    assert await housekeeping.close_idle(database) == 2
    assert (await read(database, rated))[0].matured_at is not None
    assert (await read(database, rated))[0].state is ConversationState.MATURED
    assert (await read(database, moody))[0].state is ConversationState.AWAITING


async def test_each_agent_has_its_own_patience(database: Database) -> None:
    patient = await create_agent(database, "patient", idle_seconds=86_400)
    hasty = await create_agent(database, "hasty", idle_seconds=60)
    waiting, over = await idle_conversation(database, patient), await idle_conversation(database, hasty)
    assert await housekeeping.close_idle(database) == 1
    assert (await read(database, waiting))[0].state is ConversationState.OPEN
    assert (await read(database, over))[0].state is ConversationState.AWAITING


async def test_dead_letters_are_kept_for_their_days(database: Database) -> None:
    ages = {"old": 31, "young": 29}
    async with database.transaction() as session:
        for name, days in ages.items():
            received_at = datetime.now(UTC) - timedelta(days=days)
            session.add(models.DeadLetter(key_id=new_id(), body={"is": name}, reason="test", received_at=received_at))
    assert await housekeeping.forget_dead_letters(database, days=30) == 1
    async with database.transaction() as session:
        left = (await session.scalars(select(models.DeadLetter))).all()
    assert [letter.body["is"] for letter in left] == ["young"]


async def test_one_process_at_a_time_looks_after_the_engines(database: Database) -> None:
    other = uuid4()
    async with database.transaction() as session:
        assert await learner.take_lease(session, rollout.LEASE, holder=other, seconds=30)
    assert not await rollout.reconcile(database, settings=NOBODY)
    async with database.transaction() as session:
        await learner.release_lease(session, rollout.LEASE, holder=other)
    assert await rollout.reconcile(database, settings=NOBODY)  # an engine that is away stops nobody
    assert await rollout.reconcile(database, settings=NOBODY)  # and the lease was given back


async def test_the_chance_of_an_outcome_is_estimated_by_kind_and_logged_when_a_conversation_ends(
    database: Database,
) -> None:
    agent = await create_agent(database, idle_seconds=1800)
    for has_matured, length in [(True, 2)] * 6 + [(False, 2)] * 2 + [(False, 1)] * 4:
        state = ConversationState.MATURED if has_matured else ConversationState.EXPIRED
        conversation = await create_conversation(database, agent, state=state)
        episode = await create_episode(database, conversation, ended_by=EpisodeEnd.IDLE)
        for _ in range(length):
            await create_turn(database, episode)
    await create_conversation(database, agent, state=ConversationState.AWAITING)
    assert await housekeeping.estimate_chances(database) == 0  # their windows have not passed
    assert await housekeeping.estimate_chances(database, now=datetime.now(UTC) + timedelta(days=8)) == 2
    idle = await idle_conversation(database, agent)
    assert await housekeeping.close_idle(database) == 1
    overall = 7 / 14
    assert (await read(database, idle))[0].outcome_chance == pytest.approx((0 + 10 * overall) / (4 + 10))


async def test_how_much_of_what_taught_a_version_has_changed_is_a_figure_of_the_version(database: Database) -> None:
    agent = await create_agent(database)
    run_id = await queue_run(database, agent)
    version = await create_adapter(database, agent, run_id=run_id)
    told = [await create_matured(database, agent, reward=1.0, turns=2) for _ in range(2)]
    async with database.transaction() as session:
        for conversation in told:
            for turn, reward in zip(await turns.list_turns(session, conversation.id), (0.0, 1.0), strict=True):
                row = models.RunTurn(run_id=run_id, turn_id=turn.id, reward=reward, trained_actor=True)
                await learner.add_run_turns(session, [row])
    assert await share_of(database, version) == 0.0
    await create_entry(database, told[0], 0.5)
    with capture_logs() as logged:
        assert await share_of(database, version) == 0.25
        assert await share_of(database, version) == 0.25
    warned = [line for line in logged if line["log_level"] == "warning"]
    assert [(line["adapter"], line["share"]) for line in warned] == [("demo@v1", 0.25)]  # once


async def share_of(database: Database, version: models.AdapterVersion) -> float | None:
    """What the version's row says after somebody has looked."""
    assert await housekeeping.watch_changes(database, limit=0.1) == 1
    async with database.transaction() as session:
        return (await session.get_one(models.AdapterVersion, version.id)).changed_share

"""When agents learn by themselves, and what the ticks send out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import learner
from tests.fixtures.builders import create_agent
from tests.fixtures.conversations import create_mixed
from tests.fixtures.runs import queue_run
from worker.scheduling import BY_SCHEDULE, list_due_runs

AT_ONCE = {"min_conversations": 2, "min_seconds": 0, "enabled": True}


async def end_run(database: Database, agent: models.Agent, state: RunState, **values: Any) -> None:
    run_id = await queue_run(database, agent)
    async with database.transaction() as session:
        ended = {"state": state, "ended_at": datetime.now(UTC), **values}
        await session.execute(update(models.LearnerRun).where(models.LearnerRun.id == run_id).values(ended))


async def test_enough_new_outcomes_queue_one_run(database: Database) -> None:
    agent = await create_agent(database, schedule=AT_ONCE)
    await create_mixed(database, agent, count=1)
    assert await list_due_runs(database) == []
    await create_mixed(database, agent, count=1)
    first = await list_due_runs(database)
    assert len(first) == 1
    assert await list_due_runs(database) == first  # sent again until somebody holds it, never queued twice
    async with database.transaction() as session:
        run = await learner.find_run(session, first[0])
    assert run is not None
    assert (run.agent_id, run.requested_by, run.state) == (agent.id, BY_SCHEDULE, RunState.QUEUED)


@pytest.mark.parametrize(
    "schedule",
    [AT_ONCE | {"enabled": False}, AT_ONCE | {"min_seconds": 60}, AT_ONCE | {"min_conversations": 3}, {}],
)
async def test_a_schedule_that_is_off_or_not_due_queues_nothing(database: Database, schedule: dict[str, Any]) -> None:
    agent = await create_agent(database, schedule=schedule)
    await create_mixed(database, agent, count=2)
    assert await list_due_runs(database) == []


async def test_a_run_by_hand_is_sent_whatever_the_schedule_says(database: Database) -> None:
    agent = await create_agent(database, schedule={"enabled": False})
    run_id = await queue_run(database, agent)
    assert await list_due_runs(database) == [run_id]


async def test_outcomes_before_the_last_success_do_not_count_again(database: Database) -> None:
    agent = await create_agent(database, schedule=AT_ONCE)
    matured = await create_mixed(database, agent, count=2)
    watermark = max(conversation.matured_at for conversation in matured if conversation.matured_at is not None)
    await end_run(database, agent, RunState.SUCCEEDED, watermark=watermark)
    assert await list_due_runs(database) == []
    await create_mixed(database, agent, count=2)
    assert len(await list_due_runs(database)) == 1


async def test_outcomes_that_only_the_critic_has_learned_from_do_not_count_again_either(database: Database) -> None:
    agent = await create_agent(database, schedule=AT_ONCE)
    matured = await create_mixed(database, agent, count=2)
    watermark = max(conversation.matured_at for conversation in matured if conversation.matured_at is not None)
    await end_run(database, agent, RunState.SKIPPED, watermark=watermark)
    assert await list_due_runs(database) == []
    await create_mixed(database, agent, count=2)
    assert len(await list_due_runs(database)) == 1


async def test_after_a_run_that_learned_nothing_the_agent_rests_too(database: Database) -> None:
    agent = await create_agent(database, schedule=AT_ONCE | {"min_seconds": 900})
    async with database.transaction() as session:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        (await session.get_one(models.Agent, agent.id)).created_at = long_ago
    await create_mixed(database, agent, count=2)
    await end_run(database, agent, RunState.SKIPPED)
    assert await list_due_runs(database) == []
    async with database.transaction() as session:
        await session.execute(update(models.LearnerRun).values(ended_at=datetime.now(UTC) - timedelta(seconds=901)))
    assert len(await list_due_runs(database)) == 1


async def test_an_agent_whose_schedule_makes_no_sense_stops_no_other(database: Database) -> None:
    broken = await create_agent(database, "a-broken", schedule={"min_conversations": "many"})
    sound = await create_agent(database, "b-sound", schedule=AT_ONCE)
    for agent in (broken, sound):
        await create_mixed(database, agent, count=2)
    due = await list_due_runs(database)
    async with database.transaction() as session:
        runs = [await learner.find_run(session, run_id) for run_id in due]
    assert [run.agent_id for run in runs if run is not None] == [sound.id]

"""Runs in which the critic learns and the actor does not yet: warm-up, the gate, and what the next run starts from."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import adapters
from tests.fixtures.builders import create_agent
from tests.fixtures.conversations import create_matured, create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from worker.scheduling import list_due_runs

AT_ONCE = {"min_conversations": 4, "min_seconds": 0, "enabled": True}


async def run_once(database: Database, agent: models.Agent, step: Any) -> models.LearnerRun:
    run_id = await queue_run(database, agent)
    await step(run_id)
    return await read_run(database, run_id)


async def set_learner(database: Database, agent: models.Agent, **changes: object) -> None:
    async with database.transaction() as session:
        row = await session.get_one(models.Agent, agent.id)
        row.learner = row.learner | changes


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_critic_warms_up_over_the_same_outcomes_and_then_the_actor_learns_from_them(
    database: Database, step: Any, store: StoreSettings
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 2})
    await create_mixed(database, agent, count=4)
    first, second, third = [await run_once(database, agent, step) for _ in range(3)]
    assert [run.state for run in (first, second, third)] == [RunState.SKIPPED, RunState.SKIPPED, RunState.SUCCEEDED]
    assert first.reason == "Only the critic learned: the critic warms up: update 1 of 2."
    assert second.reason == "Only the critic learned: the critic warms up: update 2 of 2."
    assert [started_from(run) for run in (first, second, third)] == [
        "fresh",
        f"checkpoint of run {first.id.hex}",
        f"checkpoint of run {second.id.hex}",
    ]
    assert third.figures is not None
    assert third.figures["new_conversations"] == 4  # the critic has seen them, the actor has not
    assert names(store.checkpoints_dir / "demo") == {second.id.hex, third.id.hex}
    assert names(store.adapters_dir / "demo") == {f"v1-{third.id.hex}"}


def started_from(run: models.LearnerRun) -> object:
    assert run.figures is not None
    return run.figures["critic_start"]


async def test_a_critic_that_does_not_rank_what_came_is_kept_and_the_gate_can_pass_later(
    database: Database, step: Any, store: StoreSettings
) -> None:
    # No correlation is above 1, and outcomes that tie leave every one below it.
    agent = await create_agent(database, learner=QUICK | {"critic_gate": 1.0})
    await create_mixed(database, agent, count=4)
    first = await run_once(database, agent, step)
    assert first.state is RunState.SKIPPED
    assert (first.reason or "").startswith("Only the critic learned: the critic cannot be trusted yet")
    assert names(store.checkpoints_dir / "demo") == {first.id.hex}
    await set_learner(database, agent, critic_gate=-1.0)
    second = await run_once(database, agent, step)
    assert (second.state, started_from(second)) == (RunState.SUCCEEDED, f"checkpoint of run {first.id.hex}")


async def test_such_a_run_makes_no_version_and_its_turns_count_as_seen_by_the_critic_alone(
    database: Database, step: Any, store: StoreSettings
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 1})
    conversations = await create_mixed(database, agent, count=4)
    run = await run_once(database, agent, step)
    assert (run.adapter_id, run.progress, run.lease_holder) == (None, 1.0, None)
    assert run.ended_at is not None
    assert run.watermark == max(conversation.matured_at for conversation in conversations if conversation.matured_at)
    assert run.configuration is not None
    assert run.configuration["warmup_updates"] == 1
    async with database.transaction() as session:
        assert [version.number for version in await adapters.list_versions(session, agent.id)] == [0]
        taught = (await session.scalars(select(models.RunTurn).where(models.RunTurn.run_id == run.id))).all()
    assert sorted((turn.reward, turn.trained_actor) for turn in taught) == [(0.0, False)] * 6 + [(1.0, False)] * 2
    assert names(store.adapters_dir / "demo") == set()


async def test_the_schedule_waits_for_new_outcomes_and_the_run_then_takes_the_old_ones_too(
    database: Database, step: Any
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 1}, schedule=AT_ONCE)
    await create_mixed(database, agent, count=4)
    (first,) = await list_due_runs(database)
    await step(first)
    assert (await read_run(database, first)).state is RunState.SKIPPED
    assert await list_due_runs(database) == []
    await create_mixed(database, agent, count=4)
    (second,) = await list_due_runs(database)
    await step(second)
    run = await read_run(database, second)
    assert run.state is RunState.SUCCEEDED
    assert run.figures is not None
    assert (run.figures["conversations"], run.figures["new_conversations"]) == (8, 8)


async def test_only_the_newest_checkpoints_are_kept_whether_or_not_the_actor_learned(
    database: Database, step: Any, store: StoreSettings
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 9})
    await create_mixed(database, agent, count=4)
    runs: list[UUID] = [(await run_once(database, agent, step)).id for _ in range(3)]
    assert names(store.checkpoints_dir / "demo") == {run.hex for run in runs[1:]}


async def test_outcomes_that_are_all_alike_leave_no_critic_whose_unit_would_be_theirs(
    database: Database, step: Any, store: StoreSettings
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 1})
    for _ in range(4):
        await create_matured(database, agent, reward=1.0)
    run = await run_once(database, agent, step)
    assert (run.state, run.watermark) == (RunState.SKIPPED, None)
    assert run.reason == "Nothing to learn: all episodes were rewarded alike."
    assert names(store.checkpoints_dir / "demo") == set()


@pytest.mark.parametrize("reader", ["policy", "encoder"])
async def test_either_critic_goes_on_from_what_it_was(database: Database, step: Any, reader: str) -> None:
    said = {"critic_reader": reader, "critic_encoding": "joint", "train_reader": True, "warmup_updates": 1}
    agent = await create_agent(database, learner=QUICK | said)
    await create_mixed(database, agent, count=4)
    first, second = [await run_once(database, agent, step) for _ in range(2)]
    assert started_from(second) == f"checkpoint of run {first.id.hex}"
    assert "warms up" not in (second.reason or "")  # it counts its updates on
    assert second.configuration is not None
    assert (second.configuration["encoder"] is None) == (reader == "policy")

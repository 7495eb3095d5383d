"""A run that had read what is erased while it learns: it brings nothing back, and what comes out of it is marked."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import AdapterName, AdapterState
from core.domain.erasure import ErasurePolicy, ErasureSubject
from core.domain.signatures import Signer
from core.erasure.erasing import erase
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import adapters, agents, learner
from tests.fixtures.conversations import create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from tests.fixtures.traces import traces_of

SIGNER = Signer("what the processes of one test share")


async def follow_policy(database: Database, agent: models.Agent, policy: ErasurePolicy) -> None:
    async with database.transaction() as session:
        (await session.get_one(models.Agent, agent.id)).erasure = policy


async def erase_one(session: AsyncSession, conversation: models.Conversation) -> models.Erasure:
    subject = ErasureSubject.CONVERSATION
    erasure = await erase(session, SIGNER, [conversation.id], subject=subject, by="test")
    assert erasure is not None
    return erasure


async def learn_while_erasing(
    database: Database, agent: models.Agent, step: Any, conversation: models.Conversation
) -> tuple[UUID, models.Erasure]:
    """Erase a conversation when a run has learned from it and is about to register what came out."""
    run_id = await queue_run(database, agent)
    async with database.transaction() as session:
        await agents.lock_agent(session, agent.name)
        learning = asyncio.create_task(step(run_id))
        while not await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
            assert not learning.done()
            await asyncio.sleep(0.02)
        erasure = await erase_one(session, conversation)
    await learning
    return run_id, erasure


async def versions_of(database: Database, agent: models.Agent) -> list[tuple[int, AdapterState, ErasurePolicy | None]]:
    async with database.transaction() as session:
        rows = await adapters.list_versions(session, agent.id)
    return [(row.number, row.state, row.taught_by_erased) for row in rows[1:]]


@pytest.mark.parametrize("policy", list(ErasurePolicy))
async def test_a_run_that_had_read_what_was_erased_is_marked_and_points_to_none_of_it(
    database: Database, agent: models.Agent, step: Any, policy: ErasurePolicy
) -> None:
    await follow_policy(database, agent, policy)
    gone, *_ = await create_mixed(database, agent, count=5)
    run_id, erasure = await learn_while_erasing(database, agent, step, gone)
    assert erasure.parts[0]["consequences"]["running"] == f"run_{run_id.hex}"
    run = await read_run(database, run_id)
    assert (run.state, run.erased_turns, run.taught_by_erased) == (RunState.SUCCEEDED, 2, policy)
    async with database.transaction() as session:
        assert len(await learner.list_run_turns(session, run_id)) == 8
        newest = await learner.newest_run(session, agent.id)
    state = AdapterState.CANDIDATE if policy is ErasurePolicy.KEEP else AdapterState.RETIRED
    assert await versions_of(database, agent) == [(1, state, policy)]
    assert await traces_of(database, str(gone.id)) == []
    assert newest is not None
    is_asked_again = newest.id != run_id
    assert is_asked_again == (policy is ErasurePolicy.RETRAIN)
    if is_asked_again:
        assert (newest.state, newest.requested_by) == (RunState.QUEUED, "erasure")


async def test_learning_again_begins_with_nothing_that_had_learned_from_it(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    await follow_policy(database, agent, ErasurePolicy.RETRAIN)
    gone, *_ = await create_mixed(database, agent, count=5)
    first = await queue_run(database, agent)
    await step(first)
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 1))
        version.state = AdapterState.STABLE
        rollout = await session.scalar(select(models.Rollout))
        assert rollout is not None
        rollout.previous_id, rollout.stable_id = rollout.stable_id, version.id
    await create_mixed(database, agent, count=4)
    second = await queue_run(database, agent)
    await step(second)  # goes on with the first one's version and critic
    assert (await read_run(database, second)).critic_run_id == first
    async with database.transaction() as session:
        erasure = await erase_one(session, gone)
    consequences = erasure.parts[0]["consequences"]
    assert consequences["runs"] == {f"run_{first.hex}": 2, f"run_{second.hex}": 2}
    assert [version["turns"] for version in consequences["versions"]] == [2, 2]
    assert await versions_of(database, agent) == [
        (1, AdapterState.STABLE, ErasurePolicy.RETRAIN),  # serves until there is a better one
        (2, AdapterState.RETIRED, ErasurePolicy.RETRAIN),
    ]
    async with database.transaction() as session:
        queued = await learner.newest_run(session, agent.id)
    assert queued is not None
    assert consequences["queued_run"] == f"run_{queued.id.hex}"
    await step(queued.id)
    ended = await read_run(database, queued.id)
    assert ended.figures is not None
    assert (ended.state, ended.taught_by_erased, ended.figures["critic_start"]) == (RunState.SUCCEEDED, None, "fresh")
    assert ended.figures["new_conversations"] == 8  # to what it begins with, all of them are new
    async with database.transaction() as session:
        fresh = await adapters.get_version(session, AdapterName("demo", 3))
        base = await adapters.get_version(session, AdapterName("demo", 0))
    assert (fresh.state, fresh.taught_by_erased, fresh.parent_id) == (AdapterState.CANDIDATE, None, base.id)
    assert [folder.name for folder in (store.checkpoints_dir / "demo").iterdir()] == [queued.id.hex]


async def test_what_goes_on_with_a_marked_critic_is_marked_too(
    database: Database, agent: models.Agent, step: Any
) -> None:
    gone, *_ = await create_mixed(database, agent, count=5)
    await step(await queue_run(database, agent))
    async with database.transaction() as session:
        await erase_one(session, gone)
    await create_mixed(database, agent, count=4)
    await step(await queue_run(database, agent))
    assert await versions_of(database, agent) == [
        (1, AdapterState.RETIRED, ErasurePolicy.KEEP),
        (2, AdapterState.CANDIDATE, ErasurePolicy.KEEP),
    ]


async def test_a_run_of_which_the_critic_alone_learned_is_marked_too(
    database: Database, agent: models.Agent, step: Any
) -> None:
    await follow_policy(database, agent, ErasurePolicy.RETIRE)
    async with database.transaction() as session:
        (await session.get_one(models.Agent, agent.id)).learner = QUICK | {"warmup_updates": 9}
    gone, *_ = await create_mixed(database, agent, count=5)
    run_id, _ = await learn_while_erasing(database, agent, step, gone)
    run = await read_run(database, run_id)
    assert (run.state, run.erased_turns, run.taught_by_erased) == (RunState.SKIPPED, 2, ErasurePolicy.RETIRE)
    async with database.transaction() as session:
        assert await learner.list_learned(session, agent.id) == []


async def test_a_run_that_is_asked_for_while_another_runs_follows_it_whatever_comes_of_that(
    database: Database, agent: models.Agent
) -> None:
    run_id, holder = await queue_run(database, agent), agent.id
    async with database.transaction() as session:
        assert await learner.ask_for_run(session, agent.id) is None  # it is queued, and reads when it begins
        await learner.claim_run(session, run_id, holder=holder, lease_seconds=60)
        assert await learner.ask_for_run(session, agent.id) is None
        assert await learner.end_run(session, run_id, holder=holder, state=RunState.FAILED)
    async with database.transaction() as session:
        newest = await learner.newest_run(session, agent.id)
    assert newest is not None
    assert (newest.id != run_id, newest.state, newest.requested_by) == (True, RunState.QUEUED, "erasure")

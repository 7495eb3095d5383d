"""Many connections at once: each claim has one winner, and the losers are told."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import AdapterState
from core.storage import models
from core.storage.database import Database, connect
from core.storage.models import RunState
from core.storage.repositories import adapters, agents, conversations, learner, rewards, rollouts
from tests.fixtures.builders import create_adapter, create_agent, create_conversation

CLAIMANTS = 8
Result = TypeVar("Result")


async def all_at_once(
    database: Database, claim: Callable[[AsyncSession], Awaitable[Result]], *, count: int = CLAIMANTS
) -> list[Result]:
    """Run the claim in so many transactions, none of which commits before all have begun."""
    begun = asyncio.Barrier(count)

    async def one() -> Result:
        async with database.transaction() as session:
            await session.scalar(select(1))  # the connection is there
            await begun.wait()
            return await claim(session)

    return await asyncio.gather(*(one() for _ in range(count)))


async def test_one_run_of_an_agent_is_queued_at_a_time(database: Database) -> None:
    agent = await create_agent(database)
    other = await create_agent(database, "other")
    runs = await all_at_once(database, lambda session: learner.queue_run(session, agent.id, requested_by="test"))
    (run,) = [run for run in runs if run is not None]
    async with database.transaction() as session:
        assert await learner.queue_run(session, agent.id, requested_by="test") is None
        assert await learner.queue_run(session, other.id, requested_by="test") is not None
        (await session.get_one(models.LearnerRun, run.id)).state = RunState.SKIPPED
        await session.flush()
        assert await learner.queue_run(session, agent.id, requested_by="test") is not None


async def test_a_connection_that_has_queued_runs_before_queues_more(database: Database, database_url: str) -> None:
    agent = await create_agent(database)
    engine = connect(database_url, pool_size=1)
    for number in range(10):  # by then Postgres has a plan of the statement that is for any parameters
        async with Database(engine).transaction() as session:
            run = await learner.queue_run(session, agent.id, requested_by="test")
            assert (run is not None) is (number == 0)
    await engine.dispose()


async def test_one_worker_gets_a_run(database: Database) -> None:
    run = await queued(database)
    claims = await all_at_once(
        database, lambda session: learner.claim_run(session, run, holder=uuid4(), lease_seconds=30)
    )
    (claimed,) = [claim for claim in claims if claim is not None]
    assert (claimed.state, claimed.attempts) == (RunState.RUNNING, 1)


async def test_one_worker_takes_over_a_run_whose_lease_has_passed(database: Database) -> None:
    run, dead = await queued(database), uuid4()
    async with database.transaction() as session:
        await learner.claim_run(session, run, holder=dead, lease_seconds=0.05)
    await asyncio.sleep(0.1)
    async with database.transaction() as session:
        assert await learner.list_unheld(session) == [run]
    claims = await all_at_once(
        database, lambda session: learner.claim_run(session, run, holder=uuid4(), lease_seconds=30)
    )
    assert [claim.attempts for claim in claims if claim is not None] == [2]
    async with database.transaction() as session:
        assert not await learner.renew_run(session, run, holder=dead, lease_seconds=30, progress=0.5)
        assert not await learner.end_run(session, run, holder=dead, state=RunState.SUCCEEDED)
        assert await learner.list_unheld(session) == []


async def test_a_late_heartbeat_keeps_a_run_that_nobody_took(database: Database) -> None:
    run, holder = await queued(database), uuid4()
    async with database.transaction() as session:
        await learner.claim_run(session, run, holder=holder, lease_seconds=0.05)
    await asyncio.sleep(0.1)
    async with database.transaction() as session:
        assert await learner.renew_run(session, run, holder=holder, lease_seconds=30, progress=7.0)
        assert await learner.claim_run(session, run, holder=uuid4(), lease_seconds=30) is None
        assert (await session.get_one(models.LearnerRun, run)).progress == 1.0


async def test_one_process_gets_a_lease_and_another_when_it_was_released_or_passed(database: Database) -> None:
    holders = [uuid4() for _ in range(CLAIMANTS)]
    waiting = iter(holders)
    won = await all_at_once(
        database, lambda session: learner.take_lease(session, "job", holder=next(waiting), seconds=30)
    )
    assert Counter(won) == {True: 1, False: CLAIMANTS - 1}
    winner = await holder_of(database, "job")
    loser = next(holder for holder in holders if holder != winner)
    async with database.transaction() as session:
        assert await learner.take_lease(session, "job", holder=winner, seconds=30)  # once more is fine
        await learner.release_lease(session, "job", holder=loser)  # what is not its own stays
        assert not await learner.take_lease(session, "job", holder=loser, seconds=30)
        await learner.release_lease(session, "job", holder=winner)
    async with database.transaction() as session:
        assert await learner.take_lease(session, "job", holder=loser, seconds=0.05)
    await asyncio.sleep(0.1)
    async with database.transaction() as session:
        assert await learner.take_lease(session, "job", holder=winner, seconds=30)


async def test_one_request_uses_an_idempotency_key_up(database: Database) -> None:
    agent = await create_agent(database)
    name = (agent.id, "crm-1")
    taken = await all_at_once(database, lambda session: rewards.claim_keys(session, {name: b"body"}))
    assert sorted(map(len, taken)) == [0] * (CLAIMANTS - 1) + [1]
    async with database.transaction() as session:
        await rewards.answer_keys(session, {name: {"feedback_id": "fb_1"}})
    async with database.transaction() as session:
        stored = await rewards.list_keys(session, {name, (agent.id, "crm-2")})
    assert {key: (row.body_hash, row.answer) for key, row in stored.items()} == {
        name: (b"body", {"feedback_id": "fb_1"})
    }


async def test_requests_that_claim_the_same_keys_in_other_orders_never_wait_for_each_other(database: Database) -> None:
    agent = await create_agent(database)
    names = [(agent.id, f"crm-{number}") for number in range(9)]
    first_claimed, first_may_fail = asyncio.Event(), asyncio.Event()

    async def holds_the_middle() -> None:
        async with database.transaction() as session:
            await rewards.claim_keys(session, {names[4]: b"body"})
            first_claimed.set()
            await first_may_fail.wait()
            raise ConnectionAbortedError

    async def claims(order: list[rewards.KeyName]) -> int:
        async with database.transaction() as session:
            return len(await rewards.claim_keys(session, dict.fromkeys(order, b"body")))

    failing = asyncio.create_task(holds_the_middle())
    await first_claimed.wait()
    # In the order given, each would now take its side up to the middle and then want the other's.
    waiting = [asyncio.create_task(claims(order)) for order in (names, names[::-1])]
    await asyncio.sleep(0.3)
    first_may_fail.set()
    with pytest.raises(ConnectionAbortedError):
        await failing
    assert sorted(await asyncio.gather(*waiting)) == [0, 9]


async def test_a_key_whose_first_request_failed_is_free_again(database: Database) -> None:
    agent = await create_agent(database)
    first_claimed, first_may_fail = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with database.transaction() as session:
            await rewards.claim_keys(session, {(agent.id, "crm-1"): b"1"})
            first_claimed.set()
            await first_may_fail.wait()
            raise ConnectionAbortedError

    async def second() -> set[rewards.KeyName]:
        await first_claimed.wait()
        async with database.transaction() as session:
            return await rewards.claim_keys(session, {(agent.id, "crm-1"): b"2"})

    failing, waiting = asyncio.create_task(first()), asyncio.create_task(second())
    await first_claimed.wait()
    await asyncio.sleep(0.1)
    assert not waiting.done()  # it does not guess how the first one ends
    first_may_fail.set()
    with pytest.raises(ConnectionAbortedError):
        await failing
    assert await waiting == {(agent.id, "crm-1")}


async def test_one_move_of_the_pointer_wins(database: Database) -> None:
    agent = await create_agent(database)
    version = await create_adapter(database, agent)
    async with database.transaction() as session:
        rollout = await rollouts.get_rollout(session, agent.id)
    moved = await all_at_once(
        database,
        lambda session: rollouts.move(
            session, rollout, stable_id=version.id, previous_id=rollout.stable_id, by="test", reason="race"
        ),
    )
    assert Counter(moved) == {True: 1, False: CLAIMANTS - 1}
    async with database.transaction() as session:
        assert (await rollouts.get_rollout(session, agent.id)).generation == 2


async def test_versions_registered_at_once_get_numbers_of_their_own(database: Database) -> None:
    agent = await create_agent(database)

    async def register(session: AsyncSession) -> int:
        await agents.lock_agent(session, agent.name)
        number = await adapters.next_number(session, agent.id)
        await adapters.add_version(
            session, models.AdapterVersion(agent_id=agent.id, number=number, state=AdapterState.CANDIDATE)
        )
        return number

    assert sorted(await all_at_once(database, register)) == list(range(1, CLAIMANTS + 1))


async def test_a_candidate_that_is_promoted_at_this_moment_is_not_retired(database: Database) -> None:
    agent = await create_agent(database)
    old, new = await create_adapter(database, agent), await create_adapter(database, agent)

    async def retire() -> None:
        async with database.transaction() as session:
            await adapters.retire_candidates(session, agent.id, but=new.id)

    async with database.transaction() as session:
        (await adapters.lock_version(session, old.id)).state = AdapterState.STABLE
        await session.flush()
        retiring = asyncio.create_task(retire())
        await asyncio.sleep(0.1)
        assert not retiring.done()
    await retiring
    async with database.transaction() as session:
        assert (await adapters.get_version_by_id(session, old.id)).state is AdapterState.STABLE


async def test_one_of_two_requests_opens_the_conversation_and_its_episode(database: Database) -> None:
    agent = await create_agent(database)
    template = await create_conversation(database, agent)

    async def open_conversation(session: AsyncSession) -> models.Conversation | None:
        fresh = models.Conversation(
            agent_id=agent.id, external_id="theirs", key_id=template.key_id, tags={}, grouped=template.grouped
        )
        return await conversations.add_conversation(session, fresh)

    opened = await all_at_once(database, open_conversation)
    assert sum(one is not None for one in opened) == 1
    async with database.transaction() as session:
        count = await session.scalar(select(func.count()).where(models.Conversation.external_id == "theirs"))
    assert count == 1


async def queued(database: Database) -> UUID:
    agent = await create_agent(database)
    async with database.transaction() as session:
        run = await learner.queue_run(session, agent.id, requested_by="test")
    assert run is not None
    return run.id


async def holder_of(database: Database, name: str) -> UUID:
    async with database.transaction() as session:
        return (await session.get_one(models.Lease, name)).holder

"""Holding a run: the heartbeat keeps it and shows the progress, and whoever lost it writes nothing."""

import asyncio
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import learner
from tests.fixtures.builders import create_agent
from tests.fixtures.runs import queue_run, read_run
from worker.lease import LeaseLostError, RunLease, WorkerStoppingError, hold

SECONDS = 1.5


async def claim(database: Database, run_id: UUID, *, seconds: float = SECONDS) -> UUID:
    holder = uuid4()
    async with database.transaction() as session:
        assert await learner.claim_run(session, run_id, holder=holder, lease_seconds=seconds) is not None
    return holder


async def claimed_run(database: Database) -> tuple[UUID, UUID]:
    agent = await create_agent(database)
    run_id = await queue_run(database, agent)
    return run_id, await claim(database, run_id)


async def test_the_lease_outlives_its_seconds_while_a_thread_works_and_shows_the_progress(database: Database) -> None:
    run_id, holder = await claimed_run(database)
    seen = []

    async with hold(database, run_id, holder, seconds=SECONDS, is_stopping=lambda: False) as lease:

        def arithmetic() -> str:
            for share in (0.25, 0.5, 0.75):
                lease.report(share)
                time.sleep(SECONDS)
            return "learned"

        work = asyncio.create_task(lease.work(arithmetic))
        while not work.done():
            await asyncio.sleep(SECONDS / 4)
            async with database.transaction() as session:
                assert await learner.list_unheld(session) == []
            seen.append((await read_run(database, run_id)).progress)
        assert await work == "learned"
    assert seen == sorted(seen)
    assert {0.25, 0.5, 0.75} <= set(seen)


async def test_a_lost_lease_stops_the_work_without_waiting_for_the_thread(database: Database) -> None:
    run_id, holder = await claimed_run(database)
    await asyncio.sleep(SECONDS * 1.2)  # as if this process had been frozen
    thief = await claim(database, run_id)
    ended = threading.Event()
    told: list[Exception] = []

    async with hold(database, run_id, holder, seconds=SECONDS, is_stopping=lambda: False) as lease:
        with pytest.raises(LeaseLostError):
            await lease.work(until_told(lease, told, ended))
    assert await asyncio.to_thread(ended.wait, 5)
    assert isinstance(told[0], LeaseLostError)
    async with database.transaction() as session:
        assert not await learner.end_run(session, run_id, holder=holder, state=RunState.SUCCEEDED)
        assert await learner.lock_held_run(session, run_id, holder=thief)


async def test_a_worker_that_is_asked_to_end_stops_its_work(database: Database) -> None:
    run_id, holder = await claimed_run(database)
    ended = threading.Event()
    told: list[Exception] = []
    async with hold(database, run_id, holder, seconds=SECONDS, is_stopping=lambda: True) as lease:
        with pytest.raises(WorkerStoppingError):
            await lease.work(until_told(lease, told, ended))
    assert await asyncio.to_thread(ended.wait, 5)


async def test_an_error_of_the_work_is_the_callers(database: Database) -> None:
    run_id, holder = await claimed_run(database)

    def broken() -> None:
        raise ArithmeticError("no")

    async with hold(database, run_id, holder, seconds=SECONDS, is_stopping=lambda: False) as lease:
        with pytest.raises(ArithmeticError):
            await lease.work(broken)


def until_told(lease: RunLease, told: list[Exception], ended: threading.Event) -> Callable[[], None]:
    """Work that never ends by itself."""

    def arithmetic() -> None:
        try:
            while True:
                lease.report(0.5)
                time.sleep(0.02)
        except Exception as stop:
            told.append(stop)
            raise
        finally:
            ended.set()

    return arithmetic


async def test_given_back_runs_wait_for_the_next_worker_and_only_failures_count(database: Database) -> None:
    run_id, holder = await claimed_run(database)
    async with database.transaction() as session:
        assert await learner.give_back_run(session, run_id, holder=holder, reason="interrupted", counts=False)
    interrupted = await read_run(database, run_id)
    assert (interrupted.state, interrupted.attempts, interrupted.reason) == (RunState.QUEUED, 0, "interrupted")
    holder = await claim(database, run_id)
    async with database.transaction() as session:
        assert await learner.give_back_run(session, run_id, holder=holder, reason="crashed", counts=True)
        assert not await learner.give_back_run(session, run_id, holder=holder, reason="twice", counts=True)
    crashed: models.LearnerRun = await read_run(database, run_id)
    assert (crashed.state, crashed.attempts, crashed.reason) == (RunState.QUEUED, 1, "crashed")

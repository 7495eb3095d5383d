"""Learner steps that do not come to their end: killed, asked to stop, outrun, or begun too often."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest

from core.domain.adapters import AdapterName, AdapterState
from core.rollouts.loading import check_files
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import adapters, learner
from tests.fixtures.builders import create_agent
from tests.fixtures.conversations import create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from worker import learning
from worker.settings import LearnerSettings

LAUNCHER = """
import json, os, signal, sys
from functools import partial
from uuid import UUID
from core.logging import configure_logging
from core.settings import StoreSettings
from worker import learning
from worker.runtime import run
from worker.settings import LearnerSettings

configure_logging()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        asked = json.loads(line)
        os.environ.update(asked["environment"])
        run(partial(learning.step, run_id=UUID(asked["run_id"]), settings=LearnerSettings(), store=StoreSettings(),
                    is_stopping=lambda: False))
        os._exit(0)
    print(child, flush=True)
"""
LEASE_SECONDS = 60.0


@pytest.fixture(scope="module")
def launcher() -> Iterator[subprocess.Popen[str]]:
    """Starts learner steps in processes of their own without importing torch for each."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def start_step(
    launcher: subprocess.Popen[str], run_id: UUID, database_url: str, settings: LearnerSettings, store: StoreSettings
) -> psutil.Process:
    environment = {
        "NOCK_DATABASE_URL": database_url,
        "NOCK_MODEL": settings.model,
        "NOCK_CRITIC_ENCODER": settings.critic_encoder,
        "NOCK_LEARNER_LEASE_SECONDS": str(LEASE_SECONDS),
        "NOCK_LEARNER_THREADS": "2",
        "NOCK_ADAPTERS_DIR": str(store.adapters_dir),
        "NOCK_CHECKPOINTS_DIR": str(store.checkpoints_dir),
    }
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdin.write(json.dumps({"run_id": run_id.hex, "environment": environment}) + "\n")
    launcher.stdin.flush()
    return psutil.Process(int(launcher.stdout.readline()))


async def until(condition: Callable[[], bool], process: psutil.Process) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.is_running(), "the step ended before it could be killed"
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("moment", ["while it learns", "between the files and their row"])
async def test_a_killed_step_leaves_nothing_in_sight_and_the_next_worker_finishes_the_run(
    database: Database,
    database_url: str,
    agent: models.Agent,
    step: Any,
    settings: LearnerSettings,
    store: StoreSettings,
    launcher: subprocess.Popen[str],
    moment: str,
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    place = store.adapters_dir / "demo"
    with psycopg.connect(database_url.replace("+psycopg", "")) as blocker:
        blocker.execute("LOCK TABLE adapter_versions IN SHARE MODE")  # lets a step read it and not write it
        process = start_step(launcher, run_id, database_url, settings, store)
        try:
            pattern = ".unfinished-*" if moment == "while it learns" else "v1-*"
            await until(lambda: any(place.glob(pattern)), process)
        finally:
            process.kill()
            process.wait(10)
    async with database.transaction() as session:
        assert [version.number for version in await adapters.list_versions(session, agent.id)] == [0]
    assert (await read_run(database, run_id)).state is RunState.RUNNING
    left = [path.name for path in place.iterdir()]
    assert len(left) == 1

    await step(run_id)  # the dead worker's lease still holds: nothing happens
    assert (await read_run(database, run_id)).attempts == 1
    async with database.transaction() as session:
        (await session.get_one(models.LearnerRun, run_id)).lease_until = datetime.now(UTC)  # a minute later
    await step(run_id)
    run = await read_run(database, run_id)
    assert (run.state, run.attempts) == (RunState.SUCCEEDED, 2)
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 1))
    check_files(version, AdapterName("demo", 1))
    assert [str(path) for path in place.iterdir()] == [version.path]
    assert [path.name for path in (store.checkpoints_dir / "demo").iterdir()] == [run_id.hex]


async def test_a_warm_up_killed_between_its_checkpoint_and_its_row_leaves_no_critic_to_go_on_from(
    database: Database,
    database_url: str,
    step: Any,
    settings: LearnerSettings,
    store: StoreSettings,
    launcher: subprocess.Popen[str],
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": 1})
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    place = store.checkpoints_dir / "demo"
    with psycopg.connect(database_url.replace("+psycopg", "")) as blocker:
        blocker.execute("LOCK TABLE run_turns IN SHARE MODE")
        process = start_step(launcher, run_id, database_url, settings, store)
        try:
            await until((place / run_id.hex).exists, process)
        finally:
            process.kill()
            process.wait(10)
    assert (await read_run(database, run_id)).state is RunState.RUNNING
    async with database.transaction() as session:
        assert await learner.list_learned(session, agent.id) == []
        (await session.get_one(models.LearnerRun, run_id)).lease_until = datetime.now(UTC)  # a minute later
    await step(run_id)
    run = await read_run(database, run_id)
    assert (run.state, run.attempts) == (RunState.SKIPPED, 2)
    assert run.figures is not None
    assert run.figures["critic_start"] == "fresh"
    assert [path.name for path in place.iterdir()] == [run_id.hex]

    next_id = await queue_run(database, agent)
    await step(next_id)
    following = await read_run(database, next_id)
    assert following.figures is not None
    assert following.figures["critic_start"] == f"checkpoint of run {run_id.hex}"


async def test_of_two_workers_one_does_the_run(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await asyncio.gather(step(run_id), step(run_id))
    run = await read_run(database, run_id)
    assert (run.state, run.attempts) == (RunState.SUCCEEDED, 1)
    async with database.transaction() as session:
        assert len(await adapters.list_versions(session, agent.id)) == 2
    assert len(list((store.adapters_dir / "demo").iterdir())) == 1


async def test_a_step_that_is_asked_to_stop_gives_the_run_back(
    database: Database, agent: models.Agent, settings: LearnerSettings, store: StoreSettings
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    patient = settings.model_copy(update={"learner_lease_seconds": 0.3})
    await learning.step(database, run_id, settings=patient, store=store, is_stopping=lambda: True)
    run = await read_run(database, run_id)
    assert (run.state, run.attempts, run.reason) == (RunState.QUEUED, 0, "this worker was asked to end")


@pytest.mark.parametrize("warmup_updates", [0, 1])
async def test_a_run_that_lost_its_lease_registers_nothing_and_deletes_its_files(
    database: Database, step: Any, store: StoreSettings, warmup_updates: int
) -> None:
    agent = await create_agent(database, learner=QUICK | {"warmup_updates": warmup_updates})
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    ending = asyncio.create_task(step(run_id))
    while (await read_run(database, run_id)).state is RunState.QUEUED:  # noqa: ASYNC110  # Postgres has no event
        await asyncio.sleep(0.01)
    async with database.transaction() as session:
        run = await session.get_one(models.LearnerRun, run_id)
        run.state, run.reason = RunState.FAILED, "an administrator ended it"
    await ending
    run = await read_run(database, run_id)
    assert (run.state, run.reason) == (RunState.FAILED, "an administrator ended it")
    async with database.transaction() as session:
        assert len(await adapters.list_versions(session, agent.id)) == 1
    assert list(store.adapters_dir.glob("demo/*")) == []
    assert list(store.checkpoints_dir.glob("demo/*")) == []


async def test_a_surprise_is_raised_and_the_third_attempt_is_the_last(
    database: Database, agent: models.Agent, settings: LearnerSettings, tmp_path: Path
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    (tmp_path / "file").write_text("not a folder")
    broken = StoreSettings(adapters_dir=tmp_path / "file", checkpoints_dir=tmp_path / "checkpoints")
    for attempt in (1, 2, 3):
        with pytest.raises(NotADirectoryError):
            await learning.step(database, run_id, settings=settings, store=broken, is_stopping=lambda: False)
        run = await read_run(database, run_id)
        assert (run.state, run.attempts) == (RunState.QUEUED, attempt)
    await learning.step(database, run_id, settings=settings, store=broken, is_stopping=lambda: False)
    run = await read_run(database, run_id)
    assert run.state is RunState.FAILED
    assert (run.reason or "").startswith("The run was started 3 times and never came to an end. NotADirectoryError")


async def test_leftovers_of_dead_runs_are_swept_and_registered_versions_are_not(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    await create_mixed(database, agent, count=4)
    first = await queue_run(database, agent)
    await step(first)
    place = store.adapters_dir / "demo"
    await create_mixed(database, agent, count=4)
    second = await queue_run(database, agent)
    dead, stranger = uuid4().hex, uuid4().hex
    own = (
        f".unfinished-{second.hex}-{dead}",
        f".unfinished-{first.hex}-{dead}",
        f"v7-{second.hex}",
        f".removed-v7-{first.hex}",
    )
    others = (f".unfinished-{stranger}-{dead}", f"v1-{stranger}", "v3", "uploads")
    for name in (*own, *others):
        (place / name).mkdir()
        (place / name / "adapter_model.safetensors").write_bytes(b"half")
    (store.checkpoints_dir / "demo" / f".unfinished-{second.hex}-{dead}").mkdir()
    await step(second)
    assert {path.name for path in place.iterdir()} == {f"v1-{first.hex}", f"v2-{second.hex}", *others}
    assert {path.name for path in (store.checkpoints_dir / "demo").iterdir()} == {first.hex, second.hex}
    async with database.transaction() as session:
        states = {version.number: version.state for version in await adapters.list_versions(session, agent.id)}
    assert states[1] is AdapterState.RETIRED

"""Real worker and beat processes on a real Redis: a queued run is done, also when Redis was away in between."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cli.up import embedded_redis, tether
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from tests.fixtures.conversations import create_mixed
from tests.fixtures.runs import queue_run, read_run
from worker.settings import LearnerSettings

CELERY = [sys.executable, "-m", "celery", "-A", "worker.celery_app"]
WORKER = [*CELERY, "worker", "--queues", "gpu,cpu", "--pool", "solo", "--loglevel", "info"]
BEAT = [*CELERY, "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile", "", "--loglevel", "info"]


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path, *, grace: float = 1) -> Iterator[None]:
    """A process that is gone with the block, and whose children are gone with it."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            tether.command(command, grace_seconds=grace),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    try:
        yield
    finally:
        process.communicate()


@pytest.fixture
def own_redis() -> Iterator[Path]:
    """A folder for a Redis that this test may end; short enough for a socket."""
    with TemporaryDirectory(prefix="nock-redis-") as folder:
        yield Path(folder)


async def until_ended(database: Database, run_id: object, logs: list[Path]) -> models.LearnerRun:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        run = await read_run(database, run_id)  # type: ignore[arg-type]
        if run.ended_at is not None:
            return run
        await asyncio.sleep(0.1)
    pytest.fail("\n".join(log.read_text()[-3000:] for log in logs))


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_worker_and_beat_do_a_queued_run_and_another_after_redis_lost_everything(
    database: Database,
    database_url: str,
    agent: models.Agent,
    settings: LearnerSettings,
    store: StoreSettings,
    own_redis: Path,
    tmp_path: Path,
) -> None:
    environment = {
        "NOCK_DATABASE_URL": database_url,
        "NOCK_REDIS_URL": embedded_redis.url(own_redis),
        "NOCK_ENGINE_URLS": "http://127.0.0.1:9",
        "NOCK_MODEL": settings.model,
        "NOCK_CRITIC_ENCODER": settings.critic_encoder,
        "NOCK_LEARNER_THREADS": "2",
        "NOCK_ADAPTERS_DIR": str(store.adapters_dir),
        "NOCK_CHECKPOINTS_DIR": str(store.checkpoints_dir),
        "NOCK_LEARNING_TICK_SECONDS": "0.5",
    }
    redis = embedded_redis.command(own_redis)
    logs = [tmp_path / "worker.log", tmp_path / "beat.log"]
    with ExitStack() as processes:
        with running(redis, {}, tmp_path / "redis.log"):
            await until(lambda: embedded_redis.answers(own_redis))
            processes.enter_context(running(WORKER, environment, logs[0]))
            processes.enter_context(running(BEAT, environment, logs[1]))
            await create_mixed(database, agent, count=4)
            first = await until_ended(database, await queue_run(database, agent), logs)
            assert (first.state, first.reason) == (RunState.SUCCEEDED, None)
        await create_mixed(database, agent, count=4)
        run_id = await queue_run(database, agent)  # while there is no Redis
        with running(redis, {}, tmp_path / "redis.log"):
            second = await until_ended(database, run_id, logs)
            assert (second.state, second.reason) == (RunState.SUCCEEDED, None)

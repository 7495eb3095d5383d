"""The processes of a laptop stack: what runs, as whom the supervisor knows it, and how it is stopped."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from cli.up import embedded_postgres, embedded_redis
from cli.up.home import Home
from cli.up.own_secret import ensure_secret
from cli.up.settings import UpSettings

NAMES = ("postgres", "redis", "engine", "gateway", "learner", "worker", "beat")
GATEWAY_DRAIN_SECONDS = 35  # it lets open requests end for 30 s
# Two workers that share no queue have nothing to tell each other; a long step would pass for a lost heartbeat.
ALONE = ("--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat")
PYTHON = (sys.executable, "-P")  # without -P a folder named `core` where the user stands would hide ours


@dataclass(frozen=True, slots=True)
class Program:
    """One process. `order` is when it starts; it stops in the opposite order."""

    name: str
    order: int
    argv: list[str]
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    nice: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


def list_programs(home: Home, settings: UpSettings, model: str, model_name: str) -> list[Program]:
    """The programs to start, in order; what the environment already names is not among them."""
    programs = []
    if settings.database_url is None:
        programs.append(postgres(home))
    if settings.redis_url is None:
        programs.append(Program("redis", 20, embedded_redis.command(home.sockets)))
    if settings.engine_urls is None:
        programs.append(engine(home, settings, model, model_name))
    programs.append(Program("gateway", 40, [*PYTHON, "-m", "service"], stop_seconds=GATEWAY_DRAIN_SECONDS))
    # A learner or worker that is killed resumes or starts again, so stopping does not wait for a step to end.
    shared = _half_the_cores() if settings.engine_urls is None else {}
    learner = [*_celery("worker"), *ALONE, "--queues", "gpu", "--hostname", "learner@nock"]
    worker = [*_celery("worker"), *ALONE, "--queues", "cpu", "--hostname", "worker@nock"]
    beat = [*_celery("beat"), "--scheduler", "celery.beat:Scheduler", "--pidfile", ""]
    programs.append(Program("learner", 50, learner, stop_seconds=5, nice=10, environment=shared))
    programs.append(Program("worker", 51, worker, stop_seconds=5))
    programs.append(Program("beat", 60, beat, stop_seconds=5))
    return programs


def postgres(home: Home) -> Program:
    """Postgres; INT asks it for a fast shutdown, which cuts sessions but loses nothing."""
    argv = embedded_postgres.command(home.postgres, home.sockets / "postgres")
    return Program("postgres", 10, argv, stop_signal="INT", stop_seconds=30)


def engine(home: Home, settings: UpSettings, model: str, model_name: str) -> Program:
    """The embedded engine, private to this machine."""
    where = ["--host", "127.0.0.1", "--port", str(settings.engine_port)]
    what = ["--model", model, "--served-model-name", model_name, "--max-lora-rank", "16"]
    calibration = ["--calibration-file", str(home.folder / "engine-calibration.json")]
    return Program("engine", 30, [*PYTHON, "-m", "engine", *what, *where, *calibration])


def shared_environment(home: Home, settings: UpSettings, model: str) -> dict[str, str]:
    """What every process of the stack finds in its environment."""
    return {
        "NOCK_HOME": str(home.folder),
        "NOCK_HOST": settings.host,
        "NOCK_PORT": str(settings.port),
        "NOCK_DATABASE_URL": settings.database_url or embedded_postgres.url(home.sockets / "postgres"),
        "NOCK_REDIS_URL": settings.redis_url or embedded_redis.url(home.sockets),
        "NOCK_ENGINE_URLS": settings.engine_urls or f"http://127.0.0.1:{settings.engine_port}",
        "NOCK_SECRET": settings.secret or ensure_secret(home.secret),
        "NOCK_MODEL": model,
        "NOCK_ADAPTERS_DIR": str(home.adapters),
        "NOCK_CHECKPOINTS_DIR": str(home.checkpoints),
        "PYTHONUNBUFFERED": "1",
    }


def _celery(command: str) -> list[str]:
    return [*PYTHON, "-m", "celery", "-A", "worker.celery_app", command, "--loglevel", "info"]


def _half_the_cores() -> dict[str, str]:
    """The engine shares this machine, and people wait for it."""
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}

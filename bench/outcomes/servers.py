"""A real Postgres, durable as in production, and a real gateway in front of it; knows nothing of what is measured."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from alembic import command

from cli.up import embedded_postgres, tether
from core.settings import ENGINE_ROOM
from core.storage import migrations

START_SECONDS = 60
NO_ENGINE = "http://127.0.0.1:9"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a migrated, empty database."""
    with postgres_process(folder) as (url, _):
        yield url


@contextmanager
def postgres_process(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same, and the tether that holds the server."""
    data, sockets = folder / "data", folder / "sockets"
    embedded_postgres.prepare(data, sockets)
    argv = embedded_postgres.command(data, sockets)
    log = folder / "postgres.log"
    with running(argv, {}, log, lambda: embedded_postgres.answers(sockets), stop="INT") as tether:
        embedded_postgres.create_database(sockets)
        url = embedded_postgres.url(sockets)
        command.upgrade(migrations.configuration(url), "head")
        yield url, tether


@contextmanager
def gateway(
    database_url: str, port: int, folder: Path, *, engine_url: str = NO_ENGINE, room: int = ENGINE_ROOM
) -> Iterator[str]:
    """The address of `python -m service`, without an engine unless one is given: outcomes need none."""
    with gateway_process(database_url, port, folder, engine_url=engine_url, room=room) as (url, _):
        yield url


@contextmanager
def gateway_process(
    database_url: str,
    port: int,
    folder: Path,
    *,
    engine_url: str = NO_ENGINE,
    room: int = ENGINE_ROOM,
    program: str = "service",
    more: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same, and the tether that holds it. Another program than the gateway's own may run it; `more` is for it."""
    environment = {
        "NOCK_DATABASE_URL": database_url,
        "NOCK_ENGINE_URLS": engine_url,
        "NOCK_ENGINE_ROOM": str(room),
        "NOCK_PORT": str(port),
        "NOCK_SECRET": "no token of this gateway is worth anything",
        "NOCK_LOG_LEVEL": "WARNING",
        **(more or {}),
    }
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", program]
    with running(argv, environment, folder / "gateway.log", lambda: answers(f"{url}/healthz"), stop="TERM") as tether:
        yield url, tether


@contextmanager
def bare_route(libpq: str, agent: str, port: int, folder: Path) -> Iterator[str]:
    """The address of FastAPI with one route that does one insert."""
    argv = [sys.executable, "-m", "bench.outcomes.bare_route", f"--libpq={libpq}", f"--agent={agent}", f"--port={port}"]
    url = f"http://127.0.0.1:{port}"
    with running(argv, {}, folder / "bare_route.log", lambda: answers(f"{url}/openapi.json"), stop="TERM"):
        yield url


@contextmanager
def running(
    argv: list[str], environment: dict[str, str], log: Path, is_up: Callable[[], bool], *, stop: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The tether of a process that is gone with the block, and whose children are gone with it."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            tether.command(argv, stop_signal=stop),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{argv} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.communicate()  # closes the pipe, at which the tether ends it


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def cpu_seconds() -> dict[str, float]:
    """What each server and all of Postgres have used so far, of the processes that this one started."""
    used = {"server": 0.0, "postgres": 0.0}
    for process in psutil.Process().children(recursive=True):
        try:
            name, argv, times = process.name(), process.cmdline(), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        if name.startswith("postgres"):
            # Backends that have ended are counted with the postmaster, their parent.
            ended = times.children_user + times.children_system if len(argv) > 1 and argv[1] == "-D" else 0.0
            used["postgres"] += times.user + times.system + ended
        elif argv[1:3] in (["-m", "service"], ["-m", "bench.outcomes.bare_route"]):
            used["server"] += times.user + times.system
    return used

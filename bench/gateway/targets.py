"""What the load is sent to: the mock engine itself, and the gateways before it. A target's processes end with it."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.gateway.engine import MODEL
from bench.outcomes import rows, servers
from bench.swap.stack import free_port
from core.domain.keys import Scope, hash_secret, new_secret
from core.storage.database import Database, connect
from core.storage.repositories import keys

CHAT = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, how they are addressed, and whose processors they use there."""

    name: str
    url: str
    model: str
    processes: tuple[psutil.Process, ...] = ()
    key: str = "none"
    named: bool = False
    """Its clients may say which conversation a request belongs to."""

    def arguments(self) -> list[str]:
        """For `bench.gateway.load`."""
        named = ["--named"] if self.named else []
        return [f"--url={self.url}", f"--model={self.model}", f"--key={self.key}", *named]

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes]
        return sum(one.user + one.system for one in times)


@contextmanager
def engine(folder: Path, *, pause: float = 0.0) -> Iterator[tuple[str, psutil.Process]]:
    """The mock engine's address, and its process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "bench.gateway.engine", f"--port={port}", f"--pause={pause}"]
    log = folder / "engine.log"
    with servers.running(argv, {}, log, lambda: servers.answers(f"{url}/health"), stop="TERM") as tether:
        yield url, held_by(tether.pid)[0]


def direct(engine_url: str) -> Target:
    """No gateway."""
    return Target("direct", engine_url + CHAT, MODEL)


@contextmanager
def nock(
    folder: Path,
    database_url: str,
    engine_url: str,
    key: str,
    *,
    name: str = "nock",
    named: bool = True,
    processes: int = 1,
    program: str = "service",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """A gateway of so many processes."""
    place = folder / name
    place.mkdir(exist_ok=True)
    running = servers.gateway_process(
        database_url,
        free_port(),
        place,
        engine_url=engine_url,
        program=program,
        more={"NOCK_PROCESSES": str(processes), **(environment or {})},
    )
    with running as (url, tether):
        yield Target(name, url + CHAT, rows.AGENT, tuple(held_by(tether.pid)), key, named)


def add_agent(database_url: str) -> str:
    """Fill an empty database with the agent that is spoken with; the secret of a key for it."""

    async def add() -> str:
        opened = connect(database_url)
        async with Database(opened).transaction() as session:
            await rows.add_agent(session, MODEL)
            secret = new_secret()
            await keys.add_key(session, secret_hash=hash_secret(secret), scopes=[Scope.CHAT], by="bench")
        await opened.dispose()
        return secret

    return asyncio.run(add())


def held_by(tether: int) -> list[psutil.Process]:
    """The processes under a tether, the first of them the one that it was told to run."""
    return psutil.Process(tether).children(recursive=True)

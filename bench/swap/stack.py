"""A real Postgres, a real engine and two gateways in front of it, with an agent and its candidates."""

import asyncio
import hashlib
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.outcomes import rows, servers
from bench.swap.model import NAME
from core.domain.adapters import AdapterState
from core.domain.keys import Scope, hash_secret, new_secret
from core.storage.database import Database, connect
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters, keys

ROOM = 64
"""What the embedded engine has unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Stack:
    database_url: str
    engine: str
    asked: str
    """The gateway that is asked to promote."""
    other: str
    key: str


@contextmanager
def running(folder: Path, model: Path, adapter_folders: list[Path], versions: int) -> Iterator[Stack]:
    with ExitStack() as stack:
        database_url = stack.enter_context(servers.postgres(folder))
        url = stack.enter_context(engine(model, free_port(), folder))
        gateways = []
        for number in range(2):
            (folder / f"gateway-{number}").mkdir()
            gateways.append(
                stack.enter_context(
                    servers.gateway(database_url, free_port(), folder / f"gateway-{number}", engine_url=url, room=ROOM)
                )
            )
        key = asyncio.run(fill(database_url, adapter_folders, versions))
        yield Stack(database_url, url, gateways[0], gateways[1], key)


@contextmanager
def engine(model: Path, port: int, folder: Path) -> Iterator[str]:
    """The embedded engine on one thread: the other core is everybody else's."""
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "engine", "--model", str(model), "--served-model-name", NAME, "--port", str(port)]
    argv += ["--threads", "1", "--dtype", "float32", "--max-cpu-loras", str(ROOM)]
    with servers.running(
        argv, {"OMP_NUM_THREADS": "1"}, folder / "engine.log", lambda: servers.answers(f"{url}/health"), stop="TERM"
    ):
        yield url


async def fill(url: str, folders: list[Path], versions: int) -> str:
    """An agent with so many candidates, which share the folders; the secret of a key for everything."""
    opened = connect(url)
    async with Database(opened).transaction() as session:
        agent, _ = await rows.add_agent(session, NAME)
        for number in range(1, versions + 1):
            folder = folders[number % len(folders)]
            weights = (folder / "adapter_model.safetensors").read_bytes()
            version = AdapterVersion(agent_id=agent.id, number=number, state=AdapterState.CANDIDATE)
            version.path, version.sha256 = str(folder), hashlib.sha256(weights).hexdigest()
            await adapters.add_version(session, version)
        secret = new_secret()
        await keys.add_key(session, by="bench", secret_hash=hash_secret(secret), scopes=list(Scope))
    await opened.dispose()
    return secret


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""SIGKILL under load: the replies that clients received whole, and those of them that the database holds."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg

from bench.gateway import tensorzero
from bench.gateway.cases import run
from bench.gateway.stack import Ground
from bench.gateway.targets import Target
from core.domain import ids

Start = Callable[[Ground], AbstractContextManager[Target]]
ROWS_OF_NOCK = "SELECT id FROM turns WHERE finish_reason <> 'truncated'"
ROWS_OF_TENSORZERO = "SELECT id FROM tensorzero.chat_inferences"
KEPT_BY = ("nock", "tensorzero-postgres", "tensorzero-postgres-waits")
"""Targets that keep what they answer; the others lose all of it, as they say."""

SETTLE_SECONDS = 2.0
"""What had reached Postgres when the gateway died may be committed still."""


@dataclass(frozen=True, slots=True)
class Toll:
    received: int
    found: int
    cut: int
    """Replies that broke off, which owe nothing."""

    @property
    def lost(self) -> int:
        return self.received - self.found


def kill_again_and_again(ground: Ground, name: str, start: Start, kills: int) -> Toll:
    """Start it, put it under load, kill it; half of the times with streams."""
    received: list[str] = []
    cut = 0
    file = ground.folder / "received.json"
    for number in range(kills):
        with start(ground) as target:
            arguments = ["--in-flight=16", "--seconds=60", "--may-be-cut", f"--ids={file}"]
            if number % 2:
                arguments.append("--stream")
            cut += run(target, arguments, meanwhile=lambda target=target: kill(target))["cut"]  # type: ignore[misc]
        received += json.loads(file.read_text())
    time.sleep(SETTLE_SECONDS)
    return compare(received, kept(ground, name), cut)


def kill(target: Target) -> None:
    """In the middle of what it does."""
    time.sleep(random.uniform(1.5, 3.0))
    for process in target.processes:
        os.kill(process.pid, signal.SIGKILL)


def kept(ground: Ground, name: str) -> set[str]:
    """The ids of all replies that the database holds, as 32 digits."""
    ours = name == "nock"
    with psycopg.connect(ground.libpq if ours else tensorzero.kept_in(ground)) as connection:
        rows = connection.execute(ROWS_OF_NOCK if ours else ROWS_OF_TENSORZERO)
        return {row[0].hex for row in rows}


def compare(received: Iterable[str], rows: set[str], cut: int) -> Toll:
    """Ids as clients see them (`turn_0193…`, or a UUID) against rows' ids as 32 digits."""
    digits = {id.removeprefix(f"{ids.Prefix.TURN}_").replace("-", "") for id in received}
    return Toll(len(digits), len(digits & rows), cut)

"""The loads that every target is put under, and what each target's processors did meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from bench.gateway.targets import Target

CASES: dict[str, list[str]] = {
    "one at a time": ["--in-flight=1"],
    "16 in flight": ["--in-flight=16"],
    "64 in flight": ["--in-flight=64"],
    "stream, one at a time": ["--in-flight=1", "--stream", "--tokens=64"],
    "stream, 16 in flight": ["--in-flight=16", "--stream", "--tokens=64"],
}
SETTLE_SECONDS = 5.0
IDLE_SHARE = 0.25
"""Of a core, with all that runs now and then."""
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bystanders:
    """Who works for every target alike, and whose share of the processors is stated beside it."""

    engine: psutil.Process
    postmaster: int
    """The tether that holds Postgres."""

    def cpu_seconds(self) -> dict[str, float]:
        of_engine = self.engine.cpu_times()
        return {"engine": of_engine.user + of_engine.system, "postgres": of_postgres(self.postmaster)}


def of_postgres(tether: int) -> float:
    """What all of Postgres has used, with the backends that have ended, which are counted with their parent."""
    used = 0.0
    for number, process in enumerate(psutil.Process(tether).children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
        if number == 0:
            used += times.children_user + times.children_system
    return used


def measure(target: Target, arguments: list[str], bystanders: Bystanders) -> Figures:
    """One load, to its end, and what it left to be written: the next one begins when nobody works any more."""

    def used() -> dict[str, float]:
        return {"server": target.cpu_seconds(), **bystanders.cpu_seconds()}

    before = used()
    figures = run(target, arguments)
    for name, seconds in used().items():
        figures[f"{name}_cpu"] = (seconds - before[name]) / figures["seconds"]
    settle(used)
    return figures


def settle(used: Callable[[], dict[str, float]], seconds: float = SETTLE_SECONDS) -> None:
    """Wait until those whose processor time it is do next to nothing, for so long at most."""
    deadline = time.monotonic() + seconds
    before = sum(used().values())
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = sum(used().values())
        if now - before < IDLE_SHARE * 0.2:
            return
        before = now


def run(target: Target, arguments: list[str], *, meanwhile: Callable[[], None] = lambda: None) -> Figures:
    """The load as a process; `meanwhile` is called while it runs."""
    argv = [sys.executable, "-m", "bench.gateway.load", *target.arguments(), *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            meanwhile()
            told, complaint = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise SystemExit(f"{target.name}: {complaint[-2000:]}")
    figures: Figures = json.loads(told)
    return figures

"""Runs many curves side by side, each in a process of its own; what is finished is not run again."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.curve import curve_file


@dataclass(frozen=True, slots=True)
class Wanted:
    """One curve."""

    task: str
    method: str
    seed: int
    budget: int

    def is_finished(self) -> bool:
        """Whether its file says that it ran to its end."""
        file = curve_file(self.task, self.method, self.seed)
        return file.is_file() and bool(json.loads(file.read_text())["finished"])

    def start(self) -> subprocess.Popen[bytes]:
        """Run it, or go on with it."""
        arguments = f"--task {self.task} --method {self.method} --seed {self.seed} --budget {self.budget}".split()
        return subprocess.Popen([sys.executable, "-m", "bench.curve", *arguments])


def run_all(wanted: Sequence[Wanted], *, processes: int, minutes: float) -> None:
    """In the order given, `processes` at a time; when the time is over those that run are ended, to be resumed."""
    until = time.monotonic() + 60 * minutes
    waiting = [each for each in wanted if not each.is_finished()]
    total = len(waiting)
    running: dict[Wanted, subprocess.Popen[bytes]] = {}
    failed: list[Wanted] = []
    while (waiting or running) and time.monotonic() < until:
        while waiting and len(running) < processes:
            each = waiting.pop(0)
            print(f"{total - len(waiting)} of {total}: {each}", flush=True)
            running[each] = each.start()
        time.sleep(1)
        for each, process in list(running.items()):
            if process.poll() is not None:
                del running[each]
                if process.returncode:
                    failed.append(each)
    for process in running.values():
        process.terminate()
        process.wait()
    left = len(waiting) + len(running)
    if left:
        print(f"{left} curves are not finished; the same command goes on with them.", flush=True)
    if failed:
        raise SystemExit(f"{len(failed)} curves failed: {failed}")

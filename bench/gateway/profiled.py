"""The gateway under a deterministic profiler: SIGUSR1 begins, SIGUSR2 writes what was seen since and goes on."""

import cProfile
import os
import signal
import sys
import time

from service.__main__ import main

FILE = "BENCH_PROFILE"
"""The variable that names the file."""


def run() -> int:
    profiler = cProfile.Profile(time.thread_time)

    def write(*_: object) -> None:
        profiler.disable()
        profiler.dump_stats(os.environ[FILE] + ".new")
        os.replace(os.environ[FILE] + ".new", os.environ[FILE])

    signal.signal(signal.SIGUSR1, lambda *_: profiler.enable())
    signal.signal(signal.SIGUSR2, write)
    return main()


if __name__ == "__main__":
    sys.exit(run())

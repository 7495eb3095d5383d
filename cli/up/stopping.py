"""Take a stack down: in order while that works, by force when it does not or when somebody cannot wait."""

import contextlib
import signal
import time

import psutil

from cli.up.home import Home
from cli.up.leftovers import end_leftovers
from cli.up.progress import Steps
from cli.up.supervision import GONE, Supervisor

# The sum of what each program is given to stop in, and some more.
PATIENCE_SECONDS = 100


def stop(home: Home, pid: int, steps: Steps) -> None:
    """Stop all programs, last started first, then the supervisor, whose process or tether `pid` is."""
    supervisor = Supervisor(home)
    with steps.step("Stopping") as tell:
        try:
            with contextlib.suppress(*GONE):
                supervisor.shut_down()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while is_alive(pid) and time.monotonic() < deadline:
                with contextlib.suppress(*GONE):
                    tell(", ".join(state.name for state in supervisor.states() if state.state == "STOPPING"))
                time.sleep(0.1)
        except KeyboardInterrupt:
            steps.say("Stopping at once")
            _kill(pid)
            end_leftovers(home, grace_seconds=0)
            return
        _kill(pid)
        end_leftovers(home)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(signal.SIGKILL)

"""Take a stack down: in order while that works, by force when it does not or when somebody cannot wait."""

import contextlib
import signal
import time

import psutil

from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.leftovers import end_leftovers
from cli.up.programs import NAMES
from cli.up.progress import Steps
from cli.up.supervision import Supervisor, SupervisorGone

# The sum of what each program is given to stop in, and some more.
PATIENCE_SECONDS = 120
INDEPENDENT = {"beat", "learner", "worker"}  # nobody needs them to stop, so they stop together


def stop(home: Home, pid: int, steps: Steps) -> None:
    """Stop all programs, last started first, then the supervisor, whose process or tether `pid` is."""
    with steps.step("Stopping") as tell:
        try:
            names = _shut_down(Supervisor(home))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while is_alive(pid) and time.monotonic() < deadline:
                tell(", ".join(name for name in names if read_journal(home.journal(name)).status is None))
                time.sleep(0.1)
        except KeyboardInterrupt:
            steps.say("Stopping at once")
            _kill(pid)
            end_leftovers(home, grace_seconds=0)
        else:
            _kill(pid)
            end_leftovers(home)
        home.forget_sockets()


def _shut_down(supervisor: Supervisor) -> list[str]:
    """Begin to stop; the programs that ran."""
    try:
        running = {state.name for state in supervisor.states() if state.state in ("RUNNING", "STARTING")}
        for name in running & INDEPENDENT:
            supervisor.stop(name)
        supervisor.shut_down()
    except SupervisorGone:
        return []
    return [name for name in reversed(NAMES) if name in running]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(signal.SIGKILL)

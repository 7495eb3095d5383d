"""Wait until a started program does its job, or say why it does not."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.progress import Tell
from cli.up.supervision import STACK_STARTED, ProgramState, Supervisor, SupervisorGone

# A second start may succeed where the first met the remains of a crash; a third that fails has another reason.
MOST_STARTS = 3
WRONG_USAGE = 2


def wait_until_ready(
    home: Home, supervisor: Supervisor, name: str, is_ready: Callable[[], bool], *, seconds: float, tell: Tell
) -> None:
    """Wait for a program that was started; a failure carries its log."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        state = state_of(home, supervisor, name)
        why = _failure(home, state)
        if why is None and time.monotonic() > deadline:
            why = f"did not answer within {seconds:.0f} s"
        if why is not None:
            raise StartError(f"{name} {why}.", advice="Mend what its log says, then start again.", log=home.log(name))
        tell(last_line(home.log(name)))
        time.sleep(0.1)


def state_of(home: Home, supervisor: Supervisor, name: str) -> ProgramState:
    """What the supervisor says of a program."""
    try:
        return next(state for state in supervisor.states() if state.name == name)
    except SupervisorGone as error:
        raise StartError(
            "The supervisor was stopped or killed.", advice="Start again.", log=home.log("supervisord")
        ) from error


def _failure(home: Home, state: ProgramState) -> str | None:
    journal = read_journal(home.journal(state.name))
    if state.state == "FATAL":
        return "cannot be started"
    if journal.status == WRONG_USAGE:
        return "refused to start"
    if journal.status is not None and journal.start_count >= MOST_STARTS:
        return f"ended with status {journal.status}, {MOST_STARTS} times running"
    return None


def http_answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    return http_body(url)[0]


def http_body(url: str) -> tuple[bool, str]:
    """Whether a GET is answered with 200, and what is said."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return False, error.read().decode(errors="replace")
    except OSError as error:
        return False, str(error)


def last_line(log: Path) -> str:
    """The newest line of a log, empty when there is none."""
    lines = tail(log, lines=1)
    return lines[0] if lines else ""


def tail(log: Path, *, lines: int) -> list[str]:
    """The newest lines of a log, none from before the stack was started last."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    newest = text.rpartition(STACK_STARTED)[2] if STACK_STARTED in text else f"\n{text}"
    return [line for line in newest.splitlines()[1:] if line.strip()][-lines:]


def worker_answers(redis_url: str, hostname: str) -> bool:
    """Whether a Celery worker takes tasks: it answers a ping. One that is busy with a task does not."""
    from celery import Celery
    from kombu.exceptions import OperationalError

    app = Celery(broker=redis_url, set_as_current=False)
    try:
        return bool(app.control.ping(destination=[hostname], timeout=0.5))
    except OperationalError:
        return False
    finally:
        app.close()

"""What `nock up`, `nock down` and `nock status` do, from the command line's side."""

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.lock import holder, only_one
from cli.up.progress import Steps
from cli.up.readiness import tail
from cli.up.settings import UpSettings
from cli.up.stack import Stack
from cli.up.status import print_status, read_status
from cli.up.stopping import is_alive, stop
from cli.up.supervision import Supervisor, SupervisorGone

LOG_LINES = 12
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bring_up(*, detach: bool) -> int:
    """Start the stack; in the foreground stay with it until Ctrl-C."""
    steps = Steps(Console())
    with _reported(), _stoppable():
        home, settings = Home.from_environment(), UpSettings.from_environment()
        home.prepare()
        with only_one(home.run / "lock"):
            process = Stack(home, settings, steps).start(detached=detach)
            _greet(home, settings, steps)
            if detach:
                return 0
            try:
                _stay(home, process.pid, steps)
            except KeyboardInterrupt:
                stop(home, process.pid, steps)
            return 0
    return 1


def take_down() -> int:
    """Stop the stack of this NOCK_HOME, whoever started it, and whatever it left behind."""
    steps = Steps(Console())
    with _reported():
        home = Home.from_environment()
        if not home.run.exists():
            steps.say(f"Nothing runs on {home.folder}.")
            return 0
        starter = holder(home.run / "lock")
        if starter is not None:
            os.kill(starter, signal.SIGTERM)  # it stops in order by itself
            with steps.step(f"Stopping (process {starter})"):
                while is_alive(starter):
                    time.sleep(0.1)
            return 0
        try:
            supervisor = Supervisor(home).pid()
        except SupervisorGone:
            supervisor = None
        if supervisor is not None:
            stop(home, supervisor, steps)
            return 0
        from cli.up.leftovers import end_leftovers

        ended = end_leftovers(home)
        steps.say(f"Ended what a killed stack had left: {', '.join(ended)}." if ended else "Nothing was running.")
        return 0
    return 1


def tell_status(*, as_json: bool) -> int:
    """Show how the stack is; 0 only if all is well."""
    with _reported():
        home = Home.from_environment()
        status = read_status(home)
        print_status(home, status, as_json=as_json)
        return 0 if status.well else 1
    return 1


def _stay(home: Home, pid: int, steps: Steps) -> None:
    """Say when a program was started again; end when the supervisor does."""
    supervisor = Supervisor(home)
    seen = {state.name: read_journal(home.journal(state.name)).start_count for state in supervisor.states()}
    while is_alive(pid):
        for name, before in seen.items():
            seen[name] = read_journal(home.journal(name)).start_count
            if seen[name] > before:
                steps.say(f"{name} had ended and was started again; see {home.log(name)}", style="yellow")
        time.sleep(0.5)
    raise StartError("The supervisor ended, and the stack with it.", advice="Start again.", log=home.log("supervisord"))


def _greet(home: Home, settings: UpSettings, steps: Steps) -> None:
    nock = _short(Path(sys.argv[0]))
    conversation = "-H 'X-Conversation-Id: hello'"
    json = "-H 'Content-Type: application/json'"
    steps.say(f"\nNock answers at {settings.url} (documentation: {settings.url}/docs)", style="bold")
    steps.say(f"Keys: {home.keys}   Logs: {home.logs}   Stop: Ctrl-C or `{nock} down`\n")
    steps.say("Try, in another terminal:")
    steps.say(
        f"""  curl -s {settings.url}/v1/chat/completions -H "Authorization: Bearer $({nock} keys show chat)" """
        f"""{json} {conversation} -d '{{"model": "demo", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""
    )
    steps.say(
        f"""  curl -s {settings.url}/feedback -H "Authorization: Bearer $({nock} keys show feedback)" """
        f"""{json} -d '{{"conversation_id": "hello", "value": 1.0, "final": true}}'"""
    )
    steps.say(
        f"""  curl -s -X POST {settings.url}/admin/agents/demo/learn """
        f"""-H "Authorization: Bearer $({nock} keys show admin)"\n"""
    )


def _short(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Turn what stopped us into words, and swallow it."""
    errors = Console(stderr=True, highlight=False)
    try:
        yield
    except StartError as error:
        _explain(errors, error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = f"The disk is full{f' ({error.filename})' if error.filename else ''}."
        _explain(errors, StartError(full, advice="Make room, then start again; nothing that was acknowledged is lost."))
    except KeyboardInterrupt:
        errors.print("Stopped.")


def _explain(errors: Console, error: StartError) -> None:
    errors.print(f"\n{error.what}", style="bold red", markup=False, soft_wrap=True)
    if error.log is not None:
        for line in tail(error.log, lines=LOG_LINES):
            errors.print(f"  | {line}", style="dim", markup=False, soft_wrap=True)
        errors.print(f"Log: {error.log}", markup=False, soft_wrap=True)
    if error.advice:
        errors.print(error.advice, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let a closed terminal and `kill` stop us as Ctrl-C does, which a shell that put us in the background ignores."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

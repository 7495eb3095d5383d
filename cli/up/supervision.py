"""Run supervisord over a list of programs and talk to it; knows nothing of what the programs are for."""

import http.client
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from supervisor.xmlrpc import Faults, SupervisorTransport

from cli.up import tether
from cli.up.errors import StartError
from cli.up.home import Home
from cli.up.programs import Program

# With a pause that grows by a second each time, a program that cannot run is tried for more than an hour.
START_RETRIES = 100
# Whoever ends sooner is started again after a pause; whoever ends later, at once. Imports alone take seconds.
STEADY_SECONDS = 10
MARK = "NOCK_STACK"
STACK_STARTED = "--- nock up"


class SupervisorGone(Exception):
    """No supervisord takes orders: it was never started, is about to end, or was killed."""


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What supervisord says about one program."""

    name: str
    state: str
    started_at: int


def configuration(home: Home, programs: Sequence[Program]) -> str:
    """supervisord's configuration: nothing starts by itself, what was started is kept running."""
    sections = [
        "[supervisord]",
        "nodaemon = true",
        "silent = true",
        "nocleanup = true",
        f"logfile = {_literal(home.log('supervisord'))}",
        "logfile_maxbytes = 10MB",
        "logfile_backups = 2",
        f"pidfile = {_literal(home.run / 'supervisord.pid')}",
        f"childlogdir = {_literal(home.logs)}",
        # Said plainly it is no warning: as root we mean to run as root; Postgres drops it by itself.
        *(["user = root"] if os.geteuid() == 0 else []),
        "[unix_http_server]",
        f"file = {_literal(socket_path(home))}",
        "chmod = 0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        sections += _section(home, program)
    return "\n".join(sections) + "\n"


def _section(home: Home, program: Program) -> list[str]:
    held = tether.command(
        program.argv, journal=home.journal(program.name), stop_signal=program.stop_signal, nice=program.nice
    )
    environment = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    return [
        f"[program:{program.name}]",
        f"command = {_literal(shlex.join(held))}",
        f"environment = {_literal(environment)}",
        f"priority = {program.order}",
        "autostart = false",
        "autorestart = true",
        f"startsecs = {STEADY_SECONDS}",
        f"startretries = {START_RETRIES}",
        f"stopsignal = {program.stop_signal}",
        f"stopwaitsecs = {program.stop_seconds}",
        "killasgroup = true",
        "redirect_stderr = true",
        f"stdout_logfile = {_literal(home.log(program.name))}",
        "stdout_logfile_maxbytes = 10MB",
        "stdout_logfile_backups = 3",
    ]


def _literal(value: object) -> str:
    return str(value).replace("%", "%%")


def socket_path(home: Home) -> Path:
    """Where supervisord takes orders."""
    return home.sockets / "supervisor.sock"


class Supervisor:
    """A client of a running supervisord."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def is_running(self) -> bool:
        try:
            self._call("getPID")
        except SupervisorGone:
            return False
        return True

    def pid(self) -> int:
        return int(str(self._call("getPID")))

    def start(self, name: str) -> None:
        """Start a program without waiting for it."""
        self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Begin to stop a program without waiting for it."""
        self._call("stopProcess", name, False)

    def states(self) -> list[ProgramState]:
        """All programs, by name."""
        answer = self._call("getAllProcessInfo")
        assert isinstance(answer, list)
        return [ProgramState(info["name"], info["statename"], int(info["start"])) for info in answer]

    def shut_down(self) -> None:
        """Begin to stop all programs, last started first, and supervisord itself."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: object) -> object:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self._home)}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport)
        try:
            answer: object = getattr(proxy.supervisor, method)(*arguments)
            return answer
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisorGone from error
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise SupervisorGone from fault
            raise
        finally:
            transport.close()


def launch(
    home: Home, programs: Sequence[Program], environment: Mapping[str, str], *, detached: bool
) -> subprocess.Popen[bytes]:
    """Start supervisord, and wait until it takes orders.

    Detached it leads a session of its own; otherwise it ends with this process, however that ends, and the pipe that
    says so is the answer's `stdin`.
    """
    file = home.run / "supervisord.conf"
    file.write_text(configuration(home, programs))
    for stale in (socket_path(home), *home.run.glob("*.journal")):
        stale.unlink(missing_ok=True)
    for program in programs:
        with home.log(program.name).open("a") as text:
            text.write(f"{STACK_STARTED} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
    argv = [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(file)]
    log = home.log("supervisord")
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv if detached else tether.command(argv, grace_seconds=4),
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment, MARK: str(home.run)},
        )
    supervisor = Supervisor(home)
    deadline = time.monotonic() + 20
    while not supervisor.is_running():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise StartError("The supervisor did not start.", advice="Its log says why.", log=log)
        time.sleep(0.05)
    return process

"""Hold one process: run a command, pass signals on to it, and take all of it down when whoever started us is gone.

Standard input is a pipe that only the starter holds open: its end means that the starter died, by SIGKILL too.
Knows nothing of Nock and imports only the standard library, so that it starts as a file under `python -I -S` at once.

What it leaves behind: on Linux nothing, whatever is killed (the kernel ends the command when the tether itself is
killed, and orphans of the command come back to the tether). macOS has neither: there a SIGKILL of the tether alone
leaves its command running (`nock down` finds it), and what left the process group must notice by itself.
"""

import argparse
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ON_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def command(
    argv: list[str], *, journal: Path | None = None, stop_signal: str = "TERM", grace_seconds: float = 3, nice: int = 0
) -> list[str]:
    """The command line that runs `argv` under a tether."""
    options = [f"--stop-signal={stop_signal}", f"--grace-seconds={grace_seconds}", f"--nice={nice}"]
    if journal is not None:
        options.append(f"--journal={journal}")
    return [sys.executable, "-I", "-S", __file__, *options, "--", *argv]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Dropping privileges clears it: call again afterwards."""
    if ON_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def run(argv: list[str], *, journal: Path | None, stop_signal: int, grace_seconds: float, nice: int) -> int:
    """Run the command until it ends or our starter does; answer with its exit status."""
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # a Ctrl-C in the terminal must reach only the starter, who stops things in order
    if ON_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    woken = _wake_on_signals()
    child = _start(argv, nice)
    _note(journal, f"started {child}")
    status = _watch(child, woken, stop_signal, grace_seconds)
    _note(journal, f"ended {status}")
    _end_orphans(grace_seconds)
    return status


def _wake_on_signals() -> int:
    """The end of a pipe that carries the number of each signal that arrives."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (*PASSED_ON, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return read_end


def _start(argv: list[str], nice: int) -> int:
    tether = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent()
        if os.getppid() != tether:
            os._exit(1)  # the tether was killed before the kernel knew about us
        os.nice(nice)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored survives exec
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"cannot run {argv[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _note(journal: Path | None, line: str) -> None:
    if journal is None:
        return
    try:
        with journal.open("a") as file:
            file.write(f"{line}\n")
    except OSError as error:  # a full disk must not take down what runs; `nock status` then shows older facts
        os.write(2, f"cannot note '{line}' in {journal}: {error.strerror}\n".encode())


def _watch(child: int, woken: int, stop_signal: int, grace_seconds: float) -> int:
    """Pass signals on until the child has ended; when our starter is gone, stop it ourselves."""
    sources = [0, woken]
    deadline = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(sources, [], [], timeout)
        if woken in ready:
            for number in os.read(woken, 4096):
                if number != signal.SIGCHLD:
                    os.kill(child, number)
            status = _reap(child)
            if status is not None:
                return status
        if 0 in ready and not os.read(0, 4096):
            sources.remove(0)
            os.kill(child, stop_signal)
            deadline = time.monotonic() + grace_seconds
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None


def _reap(child: int) -> int | None:
    """Collect whatever has ended; the child's exit status once it is among them, 128 + n for signal n."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _end_orphans(grace_seconds: float) -> None:
    """Wait for what the command left behind, then kill it: the next start must find nothing of the last one."""
    if not ON_LINUX:
        return
    deadline = time.monotonic() + grace_seconds
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() >= deadline:
                for orphan in _children():
                    os.kill(orphan, signal.SIGKILL)
            time.sleep(0.02)


def _children() -> list[int]:
    """Our direct children; orphans further down become ours when their parents end."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else []
        except OSError:
            continue  # it ended while we looked
        if fields and int(fields[1]) == os.getpid():
            found.append(int(folder.name))
    return found


def main() -> None:
    """Read the options, then hold the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", type=Path, help="file to note each start and end in")
    parser.add_argument("--stop-signal", default="TERM", help="what stops the command in order")
    parser.add_argument("--grace-seconds", type=float, default=3, help="how long it may take before it is killed")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("argv", nargs="+")
    asked = parser.parse_args()
    number = signal.Signals[f"SIG{asked.stop_signal}"]
    sys.exit(
        run(asked.argv, journal=asked.journal, stop_signal=number, grace_seconds=asked.grace_seconds, nice=asked.nice)
    )


if __name__ == "__main__":
    main()

"""The tether holds one process, and lets nothing of it go astray."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli.up import tether
from cli.up.journal import read_journal

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
WITH_DAUGHTER = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; "
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True).pid,"
    " flush=True); time.sleep(60)",
]


def hold(argv: list[str], journal: Path, grace_seconds: float = 1) -> subprocess.Popen[str]:
    command = tether.command(argv, journal=journal, grace_seconds=grace_seconds)
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    """Close both pipes, as the death of the holder does."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


def test_the_exit_status_of_the_command_becomes_the_tethers(tmp_path: Path) -> None:
    process = hold([sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "journal")
    assert process.wait(timeout=5) == 7
    let_go(process)
    journal = read_journal(tmp_path / "journal")
    assert (journal.start_count, journal.status) == (1, 7)


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    command = tether.command(["/no/such/program"])
    done = subprocess.run(command, input="", capture_output=True, text=True)
    assert done.returncode == 127
    assert "cannot run /no/such/program: No such file or directory" in done.stderr


def test_a_signal_is_passed_on_and_counted_in_the_status(tmp_path: Path) -> None:
    process = hold(SLEEP, tmp_path / "journal")
    assert first_line(process) == "up"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
    let_go(process)


def test_the_end_of_the_pipe_ends_the_command(tmp_path: Path) -> None:
    process = hold(SLEEP, tmp_path / "journal")
    first_line(process)
    let_go(process)
    assert process.wait(timeout=5) == 128 + signal.SIGTERM


def test_a_command_that_ignores_the_stop_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = hold(STUBBORN, tmp_path / "journal", grace_seconds=0.3)
    first_line(process)
    let_go(process)
    assert process.wait(timeout=5) == 128 + signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans back to the tether")
def test_a_daughter_that_left_the_session_ends_too(tmp_path: Path) -> None:
    process = hold(WITH_DAUGHTER, tmp_path / "journal", grace_seconds=0.3)
    daughter = int(first_line(process))
    let_go(process)
    process.wait(timeout=5)
    assert not psutil.pid_exists(daughter)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the command of a killed tether")
def test_a_killed_tether_takes_the_command_along(tmp_path: Path) -> None:
    process = hold(SLEEP, tmp_path / "journal")
    first_line(process)
    child = psutil.Process(process.pid).children()[0]
    process.kill()
    process.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 3)
    let_go(process)


def test_the_command_runs_niced_and_in_a_group_that_ctrl_c_does_not_reach(tmp_path: Path) -> None:
    command = tether.command(SLEEP, nice=10)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first_line(process)
    child = psutil.Process(process.pid).children()[0]
    assert child.nice() == psutil.Process().nice() + 10
    assert os.getpgid(child.pid) == process.pid
    let_go(process)
    process.wait(timeout=5)


def test_a_journal_counts_starts_and_knows_the_last_end(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_text("started 11\nended 137\nstarted 12\n")
    running = read_journal(file)
    assert (running.start_count, running.pid, running.status) == (2, 12, None)
    assert read_journal(tmp_path / "none").start_count == 0

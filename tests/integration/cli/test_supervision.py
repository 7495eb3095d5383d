"""Supervision with real servers: what dies comes back, and nothing outlives whoever should have ended it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.up import embedded_postgres, embedded_redis
from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.leftovers import find_leftovers
from cli.up.programs import Program, postgres
from cli.up.supervision import Supervisor, launch

STARTER = """
import sys, time
from pathlib import Path
from cli.up import embedded_postgres
from cli.up.home import Home
from tests.integration.cli.test_supervision import servers_of
from cli.up.supervision import Supervisor, launch
home = Home(Path(sys.argv[1]))
home.prepare()
embedded_postgres.prepare(home.postgres, home.sockets / "postgres")
process = launch(home, servers_of(home), {}, detached=False)
for program in servers_of(home):
    Supervisor(home).start(program.name)
time.sleep(600)
"""


def servers_of(home: Home) -> list[Program]:
    return [postgres(home), Program("redis", 20, embedded_redis.command(home.sockets))]


@pytest.fixture
def home(state_folder: Path) -> Iterator[Home]:
    """A state folder, with nothing left running on it afterwards."""
    home = Home(state_folder / "nock home")
    yield home
    for process in find_leftovers(home):
        process.kill()
    home.forget_sockets()


@pytest.fixture
def starter(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a supervised Postgres and Redis, as `nock up` does."""
    process = subprocess.Popen([sys.executable, "-c", STARTER, str(home.folder)])
    until(lambda: process.poll() is not None or (postgres_answers(home) and embedded_redis.answers(home.sockets)), 30)
    assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def postgres_answers(home: Home) -> bool:
    return embedded_postgres.answers(home.sockets / "postgres")


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.05)


def current_pid(home: Home, name: str) -> int:
    pid = read_journal(home.journal(name)).pid
    assert pid is not None
    return pid


def run_sql(home: Home, statement: str) -> list[tuple[object, ...]]:
    sockets = str(home.sockets / "postgres")
    with psycopg.connect(host=sockets, user="postgres", dbname="postgres", autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_killed_postgres_comes_back_with_what_was_committed(home: Home, starter: subprocess.Popen[bytes]) -> None:
    run_sql(home, "create table kept as select 7 as value")
    killed = current_pid(home, "postgres")
    os.kill(killed, signal.SIGKILL)
    until(lambda: current_pid(home, "postgres") != killed and postgres_answers(home), 30)
    assert run_sql(home, "select value from kept") == [(7,)]


def test_a_killed_redis_comes_back(home: Home, starter: subprocess.Popen[bytes]) -> None:
    killed = current_pid(home, "redis")
    os.kill(killed, signal.SIGKILL)
    until(lambda: current_pid(home, "redis") != killed and embedded_redis.answers(home.sockets), 10)


def test_a_killed_tether_takes_its_postgres_along_and_both_come_back(
    home: Home, starter: subprocess.Popen[bytes]
) -> None:
    killed = psutil.Process(current_pid(home, "postgres"))
    tether = killed.parent()
    assert tether is not None
    tether.kill()
    until(lambda: not killed.is_running(), 5)
    until(lambda: current_pid(home, "postgres") != killed.pid and postgres_answers(home), 30)


@pytest.mark.parametrize("victim", ["starter", "supervisor", "both"])
def test_nothing_outlives_a_killed_starter_or_supervisor(
    home: Home, starter: subprocess.Popen[bytes], victim: str
) -> None:
    run_sql(home, "create table kept as select 7 as value")
    members = psutil.Process(starter.pid).children(recursive=True)
    assert len(members) >= 8  # supervisor and tether, two tethers, Redis, Postgres and its own
    supervisor = Supervisor(home).pid()
    if victim != "supervisor":
        starter.kill()
        starter.wait()
    if victim != "starter":
        os.kill(supervisor, signal.SIGKILL)
    until(lambda: not any(alive(process) for process in members), 10)
    assert find_leftovers(home) == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_after_everything_was_killed_a_new_start_finds_all_data(home: Home, starter: subprocess.Popen[bytes]) -> None:
    run_sql(home, "create table kept as select 7 as value")
    members = psutil.Process(starter.pid).children(recursive=True)
    for member in (*members, psutil.Process(starter.pid)):
        with suppress(psutil.NoSuchProcess):  # one that ended with one before it
            member.kill()
    starter.wait()
    until(lambda: not any(alive(process) for process in members), 10)
    process = launch(home, servers_of(home), {}, detached=False)
    Supervisor(home).start("postgres")
    until(lambda: postgres_answers(home), 30)
    assert run_sql(home, "select value from kept") == [(7,)]
    Supervisor(home).shut_down()
    process.communicate(timeout=20)


def test_shutting_down_ends_every_process_and_leaves_no_socket(home: Home, starter: subprocess.Popen[bytes]) -> None:
    members = psutil.Process(starter.pid).children(recursive=True)
    Supervisor(home).shut_down()
    until(lambda: not any(alive(process) for process in members), 20)
    assert not (home.postgres / "postmaster.pid").exists()
    assert not (home.sockets / "postgres" / ".s.PGSQL.5432").exists()

"""`nock up` with everything in it, on a tiny random model, and the commands that people use on it."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cli.up.home import Home
from cli.up.journal import read_journal
from cli.up.leftovers import find_leftovers
from tests.fixtures.tiny_model import write_tiny_model

NAMES = ["postgres", "redis", "engine", "gateway", "learner", "worker", "beat"]
START_SECONDS = 240


@dataclass(frozen=True)
class Machine:
    """A state folder and an environment to run `nock` in."""

    home: Home
    environment: dict[str, str]

    def nock(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "cli.main", *arguments]
        return subprocess.run(
            command, env=self.environment, input=text, capture_output=True, text=True, timeout=START_SECONDS
        )

    def says(self, *arguments: str, text: str | None = None) -> str:
        """What a command prints; it must succeed."""
        done = self.nock(*arguments, text=text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="nock test ") as folder:
        yield from a_machine(Path(folder))


def a_machine(folder: Path) -> Iterator[Machine]:
    model = write_tiny_model(folder / "tiny")
    home = Home(folder / "home")
    settings = {
        "NOCK_HOME": home.folder,
        "NOCK_PORT": free_port(),
        "NOCK_ENGINE_PORT": free_port(),
        "NOCK_MODEL": model,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NOCK_")}
    yield Machine(home, inherited | {name: str(value) for name, value in settings.items()})
    for process in find_leftovers(home):
        process.kill()
    home.forget_sockets()


@pytest.fixture(scope="module")
def stack(machine: Machine) -> Iterator[Machine]:
    """The whole stack, started detached."""
    started = machine.nock("up", "--detach")
    assert started.returncode == 0, started.stdout + started.stderr
    yield machine
    machine.nock("down")


def test_status_shows_every_process_and_a_ready_gateway(stack: Machine) -> None:
    status = json.loads(stack.says("status", "--json"))
    assert status["well"]
    assert [process["process"] for process in status["processes"]] == NAMES
    for process in status["processes"]:
        assert psutil.Process(process["pid"]).is_running()
        assert process["restarts"] == 0
    assert [(agent["agent"], agent["stable"]) for agent in status["agents"]] == [("demo", "demo@base")]


def test_the_learner_is_niced_and_has_half_the_cores(stack: Machine) -> None:
    learner = psutil.Process(process_id(stack, "learner"))
    assert learner.nice() == psutil.Process(process_id(stack, "gateway")).nice() + 10
    assert learner.environ()["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))


def test_a_second_start_says_that_the_first_runs(stack: Machine) -> None:
    again = stack.nock("up", "--detach")
    assert again.returncode == 1
    assert "already runs" in again.stderr
    assert "nock down" in again.stderr


def test_a_start_beside_it_names_the_taken_port(stack: Machine, tmp_path: Path) -> None:
    other = Machine(Home(tmp_path), stack.environment | {"NOCK_HOME": str(tmp_path)})
    refused = other.nock("up", "--detach")
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{stack.environment['NOCK_PORT']}" in refused.stderr
    assert "NOCK_PORT=" in refused.stderr


def test_somebody_talks_and_says_how_it_went(stack: Machine) -> None:
    spoken = stack.nock("chat", "demo", text="hello\nand again\n\n")
    assert spoken.returncode == 0, spoken.stderr
    assert "nock feedback conv_" in spoken.stderr, spoken.stdout + spoken.stderr
    conversation = spoken.stderr.split("nock feedback ")[1].split()[0]
    assert "by demo@base" in spoken.stderr
    assert "matured" in stack.says("feedback", conversation, "--value", "1", "--final")
    unknown = stack.nock("feedback", "nobody-knows", "--value", "1")
    assert unknown.returncode == 1
    assert "conversation_not_found" in unknown.stderr


def test_too_little_to_learn_from_is_said_while_one_waits(stack: Machine) -> None:
    assert "skipped" in stack.says("learn", "demo", "--wait")
    assert "skipped" in stack.says("runs", "demo")


def test_versions_are_listed_and_an_unknown_one_is_refused(stack: Machine) -> None:
    assert "demo@base" in stack.says("adapters", "demo")
    refused = stack.nock("promote", "demo@v99", "--reason", "a test")
    assert refused.returncode == 1
    assert "adapter_not_found" in refused.stderr
    assert stack.nock("rollback", "demo").returncode == 1
    assert "demo has never been on trial." in stack.says("canary", "demo")
    refused = stack.nock("canary", "demo", "--weight", "0.5")
    assert refused.returncode == 1
    assert "Name a version, as in demo@v1" in refused.stderr
    refused = stack.nock("canary", "demo@base", "--weight", "0.5")
    assert refused.returncode == 1
    assert "already_stable" in refused.stderr


def test_agents_follow_their_files(stack: Machine, tmp_path: Path) -> None:
    assert stack.says("agents", "apply").strip() == "demo: unchanged"
    file = tmp_path / "other.yaml"
    file.write_text("name: other\ndiscount: 0.9\nmetrics: [{name: solved, kind: boolean}]\n")
    assert stack.says("agents", "apply", str(file)).strip() == "other: created"
    assert stack.says("agents", "apply", str(file)).strip() == "other: unchanged"
    file.write_text("name: other\ndiscount: 0.8\nmetrics: [{name: solved, kind: boolean}]\n")
    assert stack.says("agents", "apply", str(file)).strip() == "other: changed discount"
    listed = json.loads(stack.says("agents", "list", "--json"))
    assert {agent["name"]: agent["discount"] for agent in listed}["other"] == 0.8
    file.write_text("name: other\ndiscount: 7\n")
    refused = stack.nock("agents", "apply", str(file))
    assert refused.returncode == 1
    assert "discount" in refused.stderr


def test_keys_are_made_listed_and_revoked(stack: Machine) -> None:
    made = stack.nock("keys", "create", "--scope", "admin", "--name", "short-lived")
    secret, key_id = made.stdout.strip(), made.stderr.split()[0]
    assert secret.startswith("nk_")
    assert "short-lived" in stack.says("keys", "list", "--key", secret)
    stack.says("keys", "revoke", key_id)
    until(lambda: "401" in stack.nock("keys", "list", "--key", secret).stderr, 5)


def test_a_key_is_made_in_the_database_when_no_admin_key_is_at_hand(stack: Machine, tmp_path: Path) -> None:
    aside = tmp_path / "keys.json"
    stack.home.keys.rename(aside)
    try:
        secret = stack.says("keys", "create", "--scope", "admin").strip()
    finally:
        aside.rename(stack.home.keys)
    assert "demo" in stack.says("agents", "list", "--key", secret)


def test_usage_errors_have_status_2_and_unreachable_gateways_status_1(stack: Machine) -> None:
    assert stack.nock("feedback", "x").returncode == 2
    assert stack.nock("keys", "create", "--scope", "everything").returncode == 2
    away = stack.nock("runs", "demo", "--url", f"http://127.0.0.1:{free_port()}")
    assert away.returncode == 1
    assert "Nothing answers" in away.stderr


@pytest.mark.parametrize("name", ["gateway", "engine"])
def test_a_killed_process_comes_back_and_its_restart_is_counted(stack: Machine, name: str) -> None:
    os.kill(process_id(stack, name), signal.SIGKILL)
    until(lambda: read_journal(stack.home.journal(name)).start_count == 2, 30)
    until(lambda: json.loads(stack.nock("status", "--json").stdout)["gateway"]["ready"], 120)
    until(lambda: stack.nock("status").returncode == 0, 60)
    stack.says("chat", "demo", "--message", "are you back?")


def test_after_everything_was_killed_a_new_start_has_it_all(stack: Machine) -> None:
    before = stack.nock("chat", "demo", "--message", "remember me")
    conversation = before.stderr.split(" in ")[1].split()[0]
    keys = stack.home.keys.read_text()
    for process in find_leftovers(stack.home):
        process.kill()
    until(lambda: not find_leftovers(stack.home), 15)
    assert stack.nock("status").returncode == 1
    stack.says("up", "--detach")
    assert stack.home.keys.read_text() == keys
    stack.says("chat", "demo", "--conversation", conversation, "--message", "who am I?")
    stack.says("feedback", conversation, "--value", "1")


def test_down_ends_everything_and_is_content_with_nothing(stack: Machine) -> None:
    stack.says("down")
    assert find_leftovers(stack.home) == []
    assert stack.nock("status").returncode == 1
    assert "Nothing was running" in stack.says("down")


def test_an_engine_that_cannot_serve_the_model_ends_the_start_with_its_log(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such architecture"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    odd = Machine(machine.home, machine.environment | {"NOCK_MODEL": str(tmp_path)})
    failed = odd.nock("up", "--detach")
    assert failed.returncode == 1
    assert "engine" in failed.stderr
    assert str(machine.home.log("engine")) in failed.stderr
    assert find_leftovers(machine.home) == []


@pytest.mark.parametrize(
    ("end", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 0), ("down", 0)],
    ids=["SIGKILL", "C", "down"],
)
def test_a_start_in_the_foreground_leaves_nothing_however_it_ends(
    machine: Machine, tmp_path: Path, end: int | str, status: int
) -> None:
    machine.says("down")
    output = tmp_path / "output"
    with output.open("w") as file:
        command = [sys.executable, "-P", "-m", "cli.main", "up"]
        process = subprocess.Popen(command, env=machine.environment, stdout=file, stderr=file, process_group=0)
    try:
        until(lambda: process.poll() is not None or "Try, in another" in output.read_text(), START_SECONDS)
        assert process.poll() is None, output.read_text()
        if isinstance(end, int):
            process.send_signal(end)
        else:
            machine.says(end)
        assert process.wait(timeout=60) == status
        until(lambda: not find_leftovers(machine.home), 15)
    finally:
        process.kill()
        process.wait()


def process_id(stack: Machine, name: str) -> int:
    pid = read_journal(stack.home.journal(name)).pid
    assert pid is not None
    return pid

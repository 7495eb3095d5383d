"""Every process is killed at once, while people talk, outcomes arrive and a learner works; nothing is lost."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.stack import Stack, running_stack
from tests.fixtures.tiny_encoder import write_tiny_encoder

CONVERSATIONS = 12


@pytest.mark.timeout(900)
def test_a_stack_killed_in_the_middle_of_everything_comes_back_with_all_that_it_acknowledged(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    encoder = write_tiny_encoder(tmp_path / "letters")
    with running_stack(tmp_path / "home", model=tiny_model_folder, encoder=encoder) as stack:
        admin = stack.client("admin")
        promote_a_first_version(stack, admin)

        # The second learner step, users and outcomes are all under way when the power goes.
        run = admin.post("/admin/agents/demo/learn").json()["run_id"]
        kept = Acknowledged(stack)
        speaking = [threading.Thread(target=kept.talk, args=(number,)) for number in range(4)]
        for thread in speaking:
            thread.start()
        wait_until(lambda: state_of(admin, run)["progress"] > 0 and len(kept.turns) >= 4, seconds=240)
        kill_everything(stack)
        kept.over.set()
        for thread in speaking:
            thread.join()
        assert kept.turns
        assert kept.outcomes

        stack.up()
        admin = stack.client("admin")
        assert admin.get("/admin/agents/demo/rollout").json()["stable"] == "demo@v1"
        chat = stack.client("chat")
        answer = chat.post("/chat", json={"agent": "demo", "message": "Back?"})
        assert answer.json()["adapter"] == "demo@v1", answer.text
        for conversation, turn, reply in kept.turns:
            found = chat.get(f"/conversations/{conversation}").json()
            assert {row["turn_id"]: row["reply"]["content"] for row in found["turns"]}[turn] == reply.replace(
                "\x00", "\ufffd"
            )
        for conversation, outcome in kept.outcomes:
            entries = chat.get(f"/conversations/{conversation}").json()["feedback"]
            assert [entry["feedback_id"] for entry in entries].count(outcome) == 1

        # The run that died is taken up again after its lease, and leaves one whole adapter and no other folder.
        wait_until(lambda: state_of(admin, run)["state"] == "succeeded", seconds=300)
        assert admin.post("/admin/agents/demo/learn").status_code == 202
        versions = {row["path"] for row in admin.get("/admin/agents/demo/adapters").json()["data"] if row["path"]}
        assert {str(path) for path in (stack.home / "adapters" / "demo").iterdir()} >= versions
        wait_until(lambda: not list((stack.home / "adapters" / "demo").glob(".*")), seconds=120)


class Acknowledged:
    """What the clients got an answer for, whole."""

    def __init__(self, stack: Stack) -> None:
        self.over = threading.Event()
        self.turns: list[tuple[str, str, str]] = []
        self.outcomes: list[tuple[str, str]] = []
        self._stack = stack

    def talk(self, number: int) -> None:
        chat, feedback = self._stack.client("chat"), self._stack.client("feedback")
        while not self.over.is_set():
            try:
                answer = chat.post("/chat", json={"agent": "demo", "message": f"Hello from {number}"})
                if answer.status_code != 200:
                    continue
                said = answer.json()
                self.turns.append((said["conversation_id"], said["turn_id"], said["reply"]))
                outcome = {"conversation_id": said["conversation_id"], "value": 1.0, "final": True}
                stored = feedback.post("/feedback", json=outcome)
                if stored.status_code == 201:
                    self.outcomes.append((said["conversation_id"], stored.json()["feedback_id"]))
            except httpx.HTTPError:
                time.sleep(0.05)


def promote_a_first_version(stack: Stack, admin: httpx.Client) -> None:
    chat, feedback = stack.client("chat"), stack.client("feedback")
    for number in range(CONVERSATIONS):
        said = chat.post("/chat", json={"agent": "demo", "message": f"Hello {number}"}).json()
        outcome = {"conversation_id": said["conversation_id"], "value": float(number % 2), "final": True}
        assert feedback.post("/feedback", json=outcome).status_code == 201
    run = admin.post("/admin/agents/demo/learn").json()["run_id"]
    wait_until(lambda: state_of(admin, run)["state"] not in ("queued", "running"), seconds=240)
    assert state_of(admin, run)["state"] == "succeeded", stack.logs()
    assert admin.post("/admin/adapters/demo@v1/promote", json={"reason": "first", "force": True}).status_code == 200
    for number in range(CONVERSATIONS):
        said = chat.post("/chat", json={"agent": "demo", "message": f"Again {number}"}).json()
        feedback.post(
            "/feedback", json={"conversation_id": said["conversation_id"], "value": number % 2, "final": True}
        )


def kill_everything(stack: Stack) -> None:
    """SIGKILL to each process whose environment names this stack's folder, until none is left."""
    deadline = time.monotonic() + 30
    while victims := [process for process in psutil.process_iter() if belongs_to(process, stack.home)]:
        assert time.monotonic() < deadline, victims
        for process in victims:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def belongs_to(process: psutil.Process, home: Path) -> bool:
    try:
        named = str(home) in " ".join(process.cmdline()) or process.environ().get("NOCK_HOME") == str(home)
        return named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def state_of(admin: httpx.Client, run: str) -> dict[str, Any]:
    state: dict[str, Any] = admin.get(f"/admin/runs/{run}").json()
    return state


def wait_until(holds: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)

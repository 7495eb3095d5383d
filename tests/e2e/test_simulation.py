"""Simulated users of Twenty Questions teach a small policy: what they say is what is stored, and a table tells it."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.policies.recipe import Recipe, write_policy
from sim.catalogue import find_task
from tests.fixtures.stack import Stack, running_stack

GAME = find_task("twenty-questions")
QUICK = Recipe(games=200, thoughts=0.0, epochs=4, batch_games=8, learning_rate=1e-2)
"""Six seconds of a processor; its player wins a game in three."""
MARKS = set(range(5))
"""Tokens that are no words."""
# Too few games to keep any from the critic, so it cannot be asked whether it can be trusted.
LEARNER = {"held_out_share": 0.0, "critic_gate": None, "probed_states": 0}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The product on a policy that was made for the game."""
    policy, threads = tmp_path / "player", torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        write_policy(GAME, policy, QUICK)
        torch.set_num_threads(threads)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so small a model only waits for a second thread
    with running_stack(tmp_path / "home", model=policy) as running:
        yield running


def test_users_teach_an_agent_and_a_table_tells_its_versions_apart(stack: Stack, tmp_path: Path) -> None:
    admin = stack.client("admin")
    assert admin.patch("/admin/agents/demo", json={"learner": LEARNER}).status_code == 200

    first = tmp_path / "first.jsonl"
    assert [row[:2] for row in simulate(stack, first, conversations=24, parallel=8)] == [["demo@base", "24"]]
    for line in read(first):
        check_stored(admin.get(f"/conversations/{line['conversation_id']}", params={"tokens": True}).json(), line)

    learned = stack.nock("learn", "demo", "--wait")
    assert re.fullmatch(r"run_\w+ succeeded: demo@v1\n", learned.stdout), (learned, stack.logs())

    # The others are still talking when the new version is promoted: both serve, each its own conversations.
    second = tmp_path / "second.jsonl"
    with ThreadPoolExecutor(1) as people:
        talking = people.submit(simulate, stack, second, conversations=20, parallel=2, seed=24)
        while not talking.done() and not (second.exists() and second.read_text()):
            time.sleep(0.1)
        promoted = stack.nock("promote", "demo@v1", "--reason", "it plays better", "--force")
        rows = talking.result()
    assert promoted.returncode == 0, (promoted, stack.logs())
    served = Counter(line["adapter"] for line in read(second))
    assert set(served) == {"demo@base", "demo@v1"}
    assert {row[0]: int(row[1]) for row in rows} == served
    for line in read(second):
        check_stored(admin.get(f"/conversations/{line['conversation_id']}", params={"tokens": True}).json(), line)


def simulate(stack: Stack, file: Path, *, conversations: int, parallel: int, seed: int = 0) -> list[list[str]]:
    """The table's rows, cell by cell; the scores in it are those of the file's lines."""
    chosen = ["--task", "twenty-questions", "--conversations", str(conversations), "--parallel", str(parallel)]
    done = stack.nock("simulate", *chosen, "--seed", str(seed), "--out", str(file))
    assert done.returncode == 0, (done, stack.logs())
    assert done.stderr == ""
    head, *rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert head == ["adapter", "conversations", "mean return", "95 % interval", "won", "optimum", "of the way"]
    assert sorted(line["seed"] for line in read(file)) == list(range(seed, seed + conversations))
    for row in rows:
        returns = [line["return"] for line in read(file) if line["adapter"] == row[0]]
        assert row[2] == f"{sum(returns) / len(returns):.2f}"
        assert row[5] == "-2.80"
    return rows


def check_stored(found: dict[str, Any], line: dict[str, Any]) -> None:
    """What the service keeps is the game as it was played; nothing in it stands in the way of learning from it."""
    assert {turn["turn_id"]: turn["reward"] for turn in found["turns"]} == line["rewards"]
    assert (found["state"], found["return"], found["adapter"]) == ("matured", line["return"], line["adapter"])
    # A win with the very last question comes after the service has cut the conversation.
    (episode,) = found["episodes"]
    assert episode["ended_by"] == line["ended_by"] == ("cap" if len(found["turns"]) == GAME.max_turns else "closed")
    assert line["end"] == "terminal" or episode["ended_by"] == "cap"
    assert {turn["learnable"] for turn in found["turns"]} == {"actor"}
    replay = GAME.game(line["seed"])
    assert [replay.answer(turn["reply"]["content"]).reward for turn in found["turns"]] == [*line["rewards"].values()]
    so_far: list[int] = []
    for turn in found["turns"]:
        assert turn["prompt_token_ids"][: len(so_far)] == so_far  # one row of tokens for the learner
        # A mark that was sampled inside a reply by a rare chance is no text, so the next prompt does not have it.
        was_text = not MARKS & {*turn["completion_token_ids"][:-1]}
        so_far = turn["prompt_token_ids"] + turn["completion_token_ids"] if was_text else []


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]

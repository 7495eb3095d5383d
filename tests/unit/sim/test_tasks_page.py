"""docs/tasks.md says what the code does: its figures are computed again here."""

import re
from pathlib import Path
from statistics import mean

import pytest

from sim.catalogue import TASKS, find_task
from sim.guess_my_city.cities import famous_cities
from sim.guess_my_city.questions import ask_about
from sim.riddles.game import RiddleTask
from sim.riddles.greedy import bound
from sim.script import recite
from sim.shop.products import catalogue
from sim.shop.wishes import WISHES
from sim.support.agents import serve_always
from sim.support.game import meet_customer
from sim.support.rules import A_TURN_LESS, ESCALATED, PATIENCE, REFUNDED
from sim.support.task import LATEST, NEVER_TOLD
from sim.task import Task
from sim.twenty_questions.everyday import EVERYDAY
from sim.twenty_questions.ten_words import TEN_WORDS

PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text()
WORDS = " ".join(PAGE.split())
ROWS = {row[0]: row[1:] for row in re.findall(r"(?m)^\| `([\w-]+)` " + r"\| ([^|]+) " * 7 + r"\|$", PAGE)}


def start(task: Task) -> float:
    totals = []
    for seed in range(1_000):
        game = task.game(seed)
        totals.append(sum(game.answer(utterance).reward for utterance in task.demonstrate(seed)))
    return mean(totals)


def best_possible(task: Task) -> float:
    return bound(task.riddle) if isinstance(task, RiddleTask) else task.optimum


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_row_of_the_table_is_what_the_code_computes(name: str) -> None:
    task = find_task(name)
    assert ROWS[name] == (
        str(task.max_turns),
        f"{task.floor:g}",
        f"{start(task):.2f}",
        f"{task.optimum:.2f}",
        "exact" if task.optimum_is_exact else "an oracle's",
        f"{best_possible(task):.2f}",
        str(len(task.vocabulary())),
    )


def test_the_table_has_every_task_and_no_other() -> None:
    assert set(ROWS) == set(TASKS)


@pytest.mark.parametrize(
    "phrase",
    [
        f"ten words with {len(TEN_WORDS.questions)} questions",
        f"{len(EVERYDAY.names)} everyday words in 17 categories with {len(EVERYDAY.questions)} questions",
        f"{len(famous_cities())} cities and {len(ask_about(famous_cities()).parts)} questions",
        f"BM25 over {len(catalogue())} products, the best three",
        f"There are {WISHES} wishes",
        f"She can bear {min(PATIENCE)} to {max(PATIENCE)} troubles",
        f"1 less {A_TURN_LESS} for each turn before it",
        f'"escalate ." earns {ESCALATED}, "refund ." {REFUNDED} where it is not the remedy',
        f"conversations later (0 to {LATEST})",
    ],
)
def test_a_figure_in_the_text_is_the_codes(phrase: str) -> None:
    assert phrase in WORDS


def test_a_fifth_of_the_outcomes_never_comes() -> None:
    assert NEVER_TOLD == 1 / 5


def test_what_the_tempting_answers_make_is_what_they_make() -> None:
    made = {
        said: mean(recite(meet_customer(seed), serve_always(said)).total for seed in range(128))
        for said in ("escalate .", "refund .", "i am sorry .")
    }
    told = re.search(r'"escalate \." makes ([\d.]+), "refund \." ([\d.]+) and "i am sorry \." ([\d.]+\d)', WORDS)
    assert told is not None
    assert told.groups() == tuple(f"{value:.2f}" for value in made.values())

"""The tasks by name."""

from collections.abc import Callable

from sim.task import Task
from sim.twenty_questions.game import TwentyQuestions
from sim.twenty_questions.ten_words import TEN_WORDS

TASKS: dict[str, Callable[[], Task]] = {
    "twenty-questions-10": lambda: TwentyQuestions("twenty-questions-10", TEN_WORDS),
}


class UnknownTaskError(ValueError):
    """There is no task of that name; the message lists those there are."""


def find_task(name: str) -> Task:
    """The task of this name; raises UnknownTaskError."""
    if name not in TASKS:
        raise UnknownTaskError(f"There is no task {name!r}. There are: {', '.join(sorted(TASKS))}.")
    return TASKS[name]()

"""The tasks by name."""

from collections.abc import Callable

from sim.guess_my_city.game import GuessMyCity
from sim.riddles.players import Habits
from sim.shop.task import MiniShop
from sim.support.task import SupportDesk
from sim.task import Task
from sim.twenty_questions.everyday import EVERYDAY
from sim.twenty_questions.game import TwentyQuestions
from sim.twenty_questions.ten_words import TEN_WORDS

TASKS: dict[str, Callable[[], Task]] = {
    "twenty-questions-10": lambda: TwentyQuestions(
        "twenty-questions-10", TEN_WORDS, Habits(guessing=0.12, thinking=0.9)
    ),
    "twenty-questions-157": lambda: TwentyQuestions(
        "twenty-questions-157", EVERYDAY, Habits(guessing=0.3, thinking=0.9, glances=2)
    ),
    "guess-my-city": lambda: GuessMyCity("guess-my-city", Habits(guessing=0.3, thinking=0.9, glances=2)),
    "mini-webshop": lambda: MiniShop("mini-webshop"),
    "support-desk": lambda: SupportDesk("support-desk"),
}
ALIASES = {"twenty-questions": "twenty-questions-10"}


class UnknownTaskError(ValueError):
    """There is no task of that name; the message lists those there are."""


def find_task(name: str) -> Task:
    """The task of this name or alias; raises UnknownTaskError."""
    full_name = ALIASES.get(name, name)
    if full_name not in TASKS:
        raise UnknownTaskError(f"There is no task {name!r}. There are: {', '.join(sorted({*TASKS, *ALIASES}))}.")
    return TASKS[full_name]()

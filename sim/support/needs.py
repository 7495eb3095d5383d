"""What people need who write to the support desk, read from the data file beside this one; knows no patience."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

DATA = Path(__file__).with_name("needs.toml")


@dataclass(frozen=True, slots=True)
class Need:
    """What is hidden behind a complaint."""

    openings: tuple[str, ...]
    """Ways to complain; other needs share them."""
    answers: Mapping[str, str]
    """The answer to each question that has to do with it."""
    remedy: str
    """The one thing that helps."""


@lru_cache
def needs() -> tuple[Need, ...]:
    """All needs: each intent with each pair of its details."""
    data = tomllib.loads(DATA.read_text())
    questions = data["questions"]
    found = []
    for intent in data["intents"].values():
        topic, about = intent["about"]
        first, second = (questions[detail] for detail in intent["details"])
        for details, remedy in intent["remedies"].items():
            one, other = (f"{detail} ." for detail in details.removesuffix(" .").split(" . "))
            answers = {questions[topic]: about, first: one, second: other}
            found.append(Need(tuple(data["complaints"][intent["complaint"]]), answers, remedy))
    return tuple(found)


@lru_cache
def questions() -> tuple[str, ...]:
    """All that is worth asking somebody."""
    return tuple(sorted({question for need in needs() for question in need.answers}))


@lru_cache
def remedies() -> tuple[str, ...]:
    """All that helps somebody."""
    return tuple(sorted({need.remedy for need in needs()}))

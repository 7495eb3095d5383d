"""The larger game's words and questions, read from the data file beside this one."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from sim.twenty_questions.table import Table

DATA = Path(__file__).with_name("everyday.toml")


def read_table(text: str) -> Table:
    """The table of a data file: what holds for all of a category, and what each word adds to it or takes away."""
    categories = tomllib.loads(text)
    questions = categories.pop("questions")
    names, true_of = [], []
    for words in categories.values():
        for_all = words.pop("all").split()
        for word, marks in words.items():
            names.append(tuple(word.split("|")))
            true_of.append(frozenset(_apply(for_all, marks.split())))
    return Table(
        names=tuple(names),
        questions={
            question: frozenset(place for place, attributes in enumerate(true_of) if attribute in attributes)
            for attribute, question in questions.items()
        },
    )


def _apply(for_all: Iterable[str], marks: Iterable[str]) -> set[str]:
    taken = {mark[1:] for mark in marks if mark.startswith("-")}
    return {*for_all, *(mark for mark in marks if not mark.startswith("-"))} - taken


EVERYDAY = read_table(DATA.read_text())

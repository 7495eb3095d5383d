"""Tasks by name and by alias."""

import pytest

from sim.catalogue import ALIASES, TASKS, UnknownTaskError, find_task


def test_twenty_questions_is_the_game_of_ten_words() -> None:
    assert find_task("twenty-questions").name == "twenty-questions-10"


def test_an_alias_hides_no_task_and_leads_to_one() -> None:
    assert not ALIASES.keys() & TASKS.keys()
    assert set(ALIASES.values()) <= TASKS.keys()


def test_an_unknown_task_is_told_the_aliases_too() -> None:
    with pytest.raises(UnknownTaskError, match=r"There are: .*, twenty-questions, twenty-questions-10"):
        find_task("chess")

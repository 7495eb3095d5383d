"""Twenty Questions: both tables, what guesses a word, and the best mean returns."""

import tomllib

import pytest

from sim.catalogue import find_task
from sim.riddles.greedy import bound, greedy_turns
from sim.riddles.players import play_greedily
from sim.script import recite
from sim.task import Answer, End
from sim.twenty_questions.everyday import DATA, EVERYDAY, read_table
from sim.twenty_questions.game import TwentyQuestions
from sim.twenty_questions.table import guess
from sim.twenty_questions.ten_words import TEN_WORDS

CATEGORIES = tomllib.loads(DATA.read_text())
QUESTIONS = CATEGORIES.pop("questions")


@pytest.fixture(scope="module")
def task() -> TwentyQuestions:
    found = find_task("twenty-questions-157")
    assert isinstance(found, TwentyQuestions)
    return found


def yes_to(question: str) -> set[str]:
    return {EVERYDAY.names[place][0] for place in EVERYDAY.questions[question]}


def test_ten_words_are_found_in_the_fewest_turns_that_yes_and_no_allow() -> None:
    assert find_task("twenty-questions-10").optimum == bound(TEN_WORDS.riddle()) == -2.8


def test_the_larger_game_has_the_papers_number_of_words_in_as_many_categories() -> None:
    assert len(EVERYDAY.names) == 157
    assert len(CATEGORIES) == 17


def test_no_two_words_share_a_name() -> None:
    names = [name for names in EVERYDAY.names for name in names]
    assert len(set(names)) == len(names)


def test_any_two_words_are_told_apart_by_some_question() -> None:
    answers = [tuple(place in yes for yes in EVERYDAY.questions.values()) for place in range(157)]
    assert len(set(answers)) == 157


def test_every_mark_of_the_data_names_a_question_and_changes_something() -> None:
    for category, words in CATEGORIES.items():
        for_all = set(words["all"].split())
        assert for_all <= set(QUESTIONS), category
        for word, marks in words.items():
            if word == "all":
                continue
            taken = {mark[1:] for mark in marks.split() if mark.startswith("-")}
            added = [mark for mark in marks.split() if not mark.startswith("-")]
            assert taken <= for_all, word
            assert set(added) <= set(QUESTIONS) - for_all, word
            assert len(set(added)) == len(added), word


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("is it a mammal ?", "is it an animal ?"),
        ("is it an animal ?", "is it alive ?"),
        ("is it alive ?", "does it grow ?"),
        ("do people eat it ?", "does it grow ?"),
        ("can you put it in a pocket ?", "can you hold it in one hand ?"),
        ("can you put it in a pocket ?", "does it fit in a shoe box ?"),
        ("is it bigger than a car ?", "is it heavier than a person ?"),
        ("does it make music ?", "does it make sound ?"),
        ("does it have a screen ?", "does it need power ?"),
        ("does it need power ?", "is it made by people ?"),
        ("is it worn on the head ?", "can you wear it ?"),
        ("is it worn on the feet ?", "can you wear it ?"),
        ("does it carry many people ?", "can you ride it ?"),
    ],
)
def test_what_is_narrower_is_true_of_no_more_words(narrow: str, wide: str) -> None:
    assert yes_to(narrow) <= yes_to(wide)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("is it made by people ?", "does it grow ?"),
        ("does it fit in a shoe box ?", "is it heavier than a person ?"),
        ("can you hold it in one hand ?", "is it heavier than a person ?"),
    ],
)
def test_what_excludes_each_other_is_true_of_no_word_together(one: str, other: str) -> None:
    assert yes_to(one) & yes_to(other) == set()


def test_a_word_has_what_holds_for_its_category_less_what_is_taken_away() -> None:
    table = read_table(
        '[questions]\nhot = "hot ?"\nred = "red ?"\n[foods]\nall = "hot"\n"soup|broth" = "red"\nsalad = "-hot"\n'
    )
    assert table.names == (("soup", "broth"), ("salad",))
    assert table.questions == {"hot ?": frozenset({0}), "red ?": frozenset({0})}


def test_sentences_that_guess_are_english() -> None:
    assert guess("dog") == "is it a dog ?"
    assert guess("apple") == "is it an apple ?"
    assert guess("scissors") == "is it scissors ?"
    assert guess("dress") == "is it a dress ?"


@pytest.mark.parametrize("said", ["is it a soccer ball ?", "is it a football ?"])
def test_words_of_two_words_are_won_by_each_of_their_names(task: TwentyQuestions, said: str) -> None:
    place = next(place for place, names in enumerate(EVERYDAY.names) if "soccer ball" in names)
    assert task.game(place).answer(said) == Answer("yes .", 0.0, End.TERMINAL)
    assert task.game(place + 1).answer(said) == Answer("no .", -1.0)


def test_the_oracle_scores_in_games_what_is_computed(task: TwentyQuestions) -> None:
    totals = [recite(task.game(seed), play_greedily(task.riddle, task.guesses)).total for seed in range(157)]
    assert sum(totals) / 157 == pytest.approx(task.optimum)
    assert max(greedy_turns(task.riddle).values()) < task.max_turns


def test_the_oracle_is_close_to_what_no_player_can_pass(task: TwentyQuestions) -> None:
    assert bound(task.riddle) == pytest.approx(-1064 / 157)
    assert bound(task.riddle) - 0.1 < task.optimum <= bound(task.riddle)

"""Guess My City: facts of GeoNames, what guesses a city, and the best mean return that is known."""

import pytest

from sim.catalogue import find_task
from sim.guess_my_city.cities import famous_cities, hours_ahead, plain
from sim.guess_my_city.game import GuessMyCity
from sim.riddles.greedy import bound, greedy_turns
from sim.riddles.players import play_greedily
from sim.script import recite
from sim.task import Answer, End

NAMES = [city.name for city in famous_cities()]


@pytest.fixture(scope="module")
def task() -> GuessMyCity:
    found = find_task("guess-my-city")
    assert isinstance(found, GuessMyCity)
    return found


def ask(task: GuessMyCity, city: str, question: str) -> str:
    return task.game(NAMES.index(city)).answer(question).message


def test_the_cities_are_as_many_as_the_papers_and_differ_in_name() -> None:
    assert len(NAMES) == len(set(NAMES)) == 91


@pytest.mark.parametrize(
    ("city", "question", "answer"),
    [
        ("tokyo", "which continent ?", "asia ."),
        ("tokyo", "is it a capital ?", "yes ."),
        ("istanbul", "is it a capital ?", "no ."),
        ("washington", "is it a capital ?", "yes ."),
        ("bogota", "is it a capital ?", "yes ."),
        ("sydney", "is it north or south ?", "south ."),
        ("nairobi", "is it south of the equator ?", "yes ."),
        ("nairobi", "is it in the tropics ?", "yes ."),
        ("oslo", "is it north of 50 degrees ?", "yes ."),
        ("lisbon", "is it west of greenwich ?", "yes ."),
        ("london", "is its clock more than 0 hours ahead of utc ?", "no ."),
        ("tokyo", "is its clock more than 7 hours ahead of utc ?", "yes ."),
        ("shanghai", "how many people live there ?", "more than 10 million ."),
        ("edinburgh", "how many people live there ?", "fewer than 1 million ."),
        ("new york", "is it in the united states ?", "yes ."),
        ("mexico city", "is it in mexico ?", "yes ."),
        ("vienna", "is the first language german ?", "yes ."),
        ("paris", "is the money called euro ?", "yes ."),
        ("paris", "which country ?", "i can not tell you that ."),
        ("paris", "what is the meaning of life ?", "invalid question ."),
    ],
)
def test_answers_are_facts(task: GuessMyCity, city: str, question: str, answer: str) -> None:
    assert ask(task, city, question) == answer


def test_hours_ahead_leave_out_daylight_saving_on_both_halves_of_the_earth() -> None:
    assert hours_ahead("Europe/Paris") == 1
    assert hours_ahead("Australia/Sydney") == 10
    assert hours_ahead("Asia/Kolkata") == 5.5


def test_names_lose_their_accents() -> None:
    assert plain("São Paulo") == "sao paulo"


@pytest.mark.parametrize("said", ["is it london ?", "london", "my last guess would be london !"])
def test_any_sentence_with_the_citys_name_wins(task: GuessMyCity, said: str) -> None:
    assert task.game(NAMES.index("london")).answer(said) == Answer("yes .", 0.0, End.TERMINAL)
    assert task.game(NAMES.index("paris")).answer(said) == Answer("no .", -1.0)


def test_naming_several_cities_guesses_none(task: GuessMyCity) -> None:
    assert ask(task, "london", "is it london or paris ?") == "invalid question ."
    assert ask(task, "london", " ".join(NAMES)) == "invalid question ."


def test_no_question_guesses_by_accident(task: GuessMyCity) -> None:
    assert [question for question in task.riddle.parts if task.find_guess(question) is not None] == []


def test_every_city_is_guessed_by_its_own_sentence(task: GuessMyCity) -> None:
    assert [task.find_guess(sentences[0]) for sentences in task.guesses] == list(range(91))


def test_the_oracle_scores_in_games_what_is_computed(task: GuessMyCity) -> None:
    totals = [recite(task.game(seed), play_greedily(task.riddle, task.guesses)).total for seed in range(91)]
    assert sum(totals) / 91 == pytest.approx(task.optimum)
    assert max(greedy_turns(task.riddle).values()) < task.max_turns
    assert task.optimum < bound(task.riddle)

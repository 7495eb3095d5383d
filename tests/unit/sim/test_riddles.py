"""Riddles: what ideal questions cost, what the greedy player scores, what a game answers."""

import random
from functools import cache

import pytest

from sim.riddles.game import MAX_TURNS, RiddleGame, RiddleTask
from sim.riddles.greedy import bound, greedy_turns, ideal_costs
from sim.riddles.players import Habits, play_greedily
from sim.riddles.riddle import Riddle, members
from sim.script import recite
from sim.task import Answer, End
from sim.twenty_questions.optimum import best_mean_return
from sim.twenty_questions.table import Table

FOUR = Riddle(4, {"is it big ?": {"yes .": 0b0011, "no .": 0b1100}, "which one ?": {"a .": 1, "b .": 2, "c .": 12}})
GUESSES = [["is it a ?"], ["is it b ?"], ["is it c ?", "is it see ?"], ["is it d ?"]]


def random_table(seed: int) -> Table:
    chance = random.Random(seed)
    places = [frozenset(chance.sample(range(6), k=chance.randint(1, 5))) for _ in range(4)]
    return Table(tuple((word,) for word in "abcdef"), {f"q{number} ?": part for number, part in enumerate(places)})


def test_ideal_costs_of_few_things_are_those_worked_out_by_hand() -> None:
    # Two: a guess hits one for nothing, the other costs a turn. Three: a guess, then two things, 2 + 1.
    # Four: halve (4 + 1 + 1) or guess (3 + 3). Five: 5 + C(2) + C(3) = 9. Six: 6 + 3 + 3. Ten: 10 + 9 + 9 = 28.
    assert ideal_costs(10)[:7] == (0, 0, 1, 3, 6, 9, 12)
    assert ideal_costs(10)[10] == 28


def test_one_wide_question_is_used_once() -> None:
    # Four things and one question of four answers: ask it, then name what is left: a turn each.
    assert ideal_costs(4, (4,))[4] == 4
    # Nine and one question of three: 9 + 3 C(3), the rest without it.
    assert ideal_costs(9, (3,))[9] == 9 + 3 * 3


@pytest.mark.parametrize("wide", [(), (3,), (3, 4)])
def test_ideal_costs_are_those_of_a_search_through_all_ways_to_part(wide: tuple[int, ...]) -> None:
    @cache
    def least(count: int, left: tuple[int, ...]) -> int:
        if count < 2:
            return 0
        costs = [count - 1 + least(count - 1, left)]
        costs += [count + least(size, left) + least(count - size, left) for size in range(1, count)]
        for place, answers in enumerate(left):
            others = left[:place] + left[place + 1 :]
            costs.append(count + min(sum(least(size, others) for size in parts) for parts in ways(count, answers)))
        return min(costs)

    def ways(count: int, parts: int) -> list[tuple[int, ...]]:
        if parts == 1:
            return [(count,)]
        return [(first, *rest) for first in range(count + 1) for rest in ways(count - first, parts - 1)]

    assert ideal_costs(12, wide) == tuple(least(count, wide) for count in range(13))


@pytest.mark.parametrize("seed", range(8))
def test_greedy_player_exact_optimum_and_bound_stand_in_this_order(seed: int) -> None:
    table = random_table(seed)
    riddle = table.riddle()
    greedy = -sum(greedy_turns(riddle).values()) / riddle.count
    assert greedy <= best_mean_return(table) <= bound(riddle)


@pytest.mark.parametrize("seed", range(4))
def test_exact_optimum_is_that_of_a_search_without_memory(seed: int) -> None:
    table = random_table(seed)
    yes = {sum(1 << place for place in part) for part in table.questions.values()}

    def least_turns(possible: int) -> float:
        """Mean turns lost, from what is possible."""
        places = members(possible)
        if len(places) == 1:
            return 0.0
        guess = min(least_turns(possible & ~(1 << place)) for place in places)
        means = [(1 + guess) * (len(places) - 1) / len(places)]
        for part in yes:
            inside, outside = possible & part, possible & ~part
            if inside and outside:
                shares = [(side, side.bit_count() / len(places)) for side in (inside, outside)]
                means.append(1 + sum(share * least_turns(side) for side, share in shares))
        return min(means)

    assert best_mean_return(table) == pytest.approx(-least_turns(0b111111))


def test_greedy_player_scores_in_games_what_is_computed() -> None:
    task = RiddleTask("four", "go .", FOUR, GUESSES, Habits())
    totals = [recite(task.game(seed), play_greedily(FOUR, GUESSES)).total for seed in range(4)]
    assert sum(totals) / 4 == task.optimum
    # "which one ?" costs each a turn; then a and b are known, and c or d is one guess more for one of them.
    assert sorted(totals) == [-2, -1, -1, -1]


def test_each_turn_costs_one_and_the_guess_that_hits_nothing() -> None:
    game = RiddleTask("four", "go .", FOUR, GUESSES, Habits()).game(2)
    assert game.answer("is it big ?") == Answer("no .", -1.0)
    assert game.answer("which one ?") == Answer("c .", -1.0)
    assert game.answer("is it d ?") == Answer("no .", -1.0)
    assert game.answer("is it pink ?") == Answer("invalid question .", -1.0)
    assert game.answer("  is it   see ? ") == Answer("yes .", 0.0, End.TERMINAL)


def test_the_last_turn_can_still_win_and_otherwise_cuts_the_game() -> None:
    won, cut = Answer("yes .", 0.0, End.TERMINAL), Answer("invalid question .", -1.0, End.TRUNCATED)
    for last, expected in [("is it a ?", won), ("", cut)]:
        game: RiddleGame = RiddleTask("four", "go .", FOUR, GUESSES, Habits()).game(0)
        assert all(game.answer("is it big ?").end is None for _ in range(MAX_TURNS - 1))
        assert game.answer(last) == expected

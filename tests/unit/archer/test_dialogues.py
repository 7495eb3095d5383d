"""Turns as the critic sees them: what bootstraps, where episodes lie, which are held out."""

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from worker.archer.dialogues import bootstraps, build_dialogues, episode_places, is_held_out
from worker.archer.episodes import episode_ends

TURNS = [
    *dialogue("a", (0.0, 1.0)),
    *dialogue("b", (0.5,), terminal=False),
    turn(episode="c", terminal=False, next_observation=None),
]


def test_only_open_ends_bootstrap():
    # Inside, real end, cut by a cap, nothing known to follow.
    assert [bootstraps(each) for each in TURNS] == [True, False, True, False]


def test_the_columns_are_those_of_the_turns():
    ends = episode_ends(TURNS)
    columns = build_dialogues(TURNS, ends, torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert columns.reward.tolist() == [0.0, 1.0, 0.5, 0.0]
    assert columns.bootstraps.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert columns.ends.tolist() == [False, True, True, True]
    some = columns.take([2, 0])
    assert_close(some.weight, torch.tensor([3.0, 1.0]))
    assert_close(some.trace, torch.tensor([0.3, 0.1]))
    assert some.reward.tolist() == [0.5, 0.0]


def test_the_places_of_each_episode_lie_between_the_ends():
    assert episode_places([False, True, True, False, False, True]) == [range(2), range(2, 3), range(3, 6)]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_about_the_share_asked_for_is_held_out(share):
    held = [is_held_out(f"conversation {number}", share) for number in range(2000)]
    assert sum(held) / len(held) == pytest.approx(share, abs=0.03)


def test_a_name_decides_alone_and_a_larger_share_keeps_what_a_smaller_one_held():
    names = [f"conversation {number}" for number in range(200)]
    smaller = {name for name in names if is_held_out(name, 0.2)}
    assert smaller < {name for name in names if is_held_out(name, 0.4)}

"""Rewards far outside what is usual."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.replay.outliers import Fences, fences_of


def test_the_fences_lie_so_many_widths_outside_the_middle_nine_tenths() -> None:
    paid = [float(value) for value in range(1, 102)]  # quantiles 6 and 96
    assert fences_of([*paid, *[0.0] * 1000], 2.0) == Fences(6 - 2 * 90, 96 + 2 * 90)


def test_quantiles_between_two_values_lie_in_proportion() -> None:
    fences = fences_of([1.0, 2.0, 3.0], 0.0)
    assert fences is not None
    assert (fences.low, fences.high) == pytest.approx((1.1, 2.9))


@pytest.mark.parametrize("rewards", [[], [0.0] * 50, [1.0] * 99 + [0.0] * 500, [1.0] * 980 + [-5.0] * 20])
def test_a_rare_event_among_equal_rewards_is_believed(rewards: list[float]) -> None:
    assert fences_of(rewards, 3.0) is None


def test_a_mistake_in_the_unit_is_held_and_what_is_usual_is_not() -> None:
    rewards = [1.0 + place / 100 for place in range(100)] + [150.0]
    fences = fences_of(rewards, 3.0)
    assert fences is not None
    assert fences.hold(150.0) == fences.high < 6
    assert [fences.hold(reward) for reward in rewards[:100]] == rewards[:100]


@given(st.lists(st.floats(-1e6, 1e6)), st.floats(0, 10))
def test_the_middle_nine_tenths_never_change(rewards: list[float], spreads: float) -> None:
    fences = fences_of(rewards, spreads)
    if fences is not None:
        paid = sorted(reward for reward in rewards if reward)
        changed = sum(fences.hold(reward) != reward for reward in paid)
        assert changed <= 0.1 * len(paid) + 2

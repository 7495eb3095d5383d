"""Who is compared with whom: by arm, stage and order, and by nothing that was said of them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.sequential.pairing import WAITING, Pairing, difference, units_compared

Entered = list[tuple[bool, float, float]]


def compare(units: Entered) -> list[tuple[list[float], list[float]]]:
    pairing = Pairing()
    compared = (pairing.enter(is_canary=canary, propensity=weight, value=value) for canary, weight, value in units)
    return [each for each in compared if each is not None]


@pytest.mark.parametrize(
    ("weight", "canaries", "stables"),
    [(0.01, 1, 10), (0.05, 1, 10), (0.1, 1, 9), (0.25, 1, 3), (0.4, 1, 1), (0.5, 1, 1), (0.75, 3, 1), (0.99, 10, 1)],
)
def test_as_many_stand_beside_the_rarer_arm_as_there_are(weight: float, canaries: int, stables: int) -> None:
    assert units_compared(weight) == (canaries, stables)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_stage_of_one_arm_compares_nothing(weight: float) -> None:
    assert compare([(weight == 1.0, weight, 1.0)] * 100) == []


def test_a_difference_is_the_canarys_mean_less_the_stables() -> None:
    [(canaries, stables)] = compare([(False, 0.25, 1.0), (False, 0.25, 0.0), (True, 0.25, 1.0), (False, 0.25, 0.5)])
    assert canaries == [1.0]
    assert sorted(stables) == [0.0, 0.5, 1.0]
    assert difference(canaries, stables) == 0.5


def test_each_unit_is_compared_once_and_the_newest_first() -> None:
    units = [(False, 0.5, 1.0), (False, 0.5, 2.0), (True, 0.5, 3.0), (True, 0.5, 4.0), (True, 0.5, 5.0)]
    assert compare(units) == [([3.0], [2.0]), ([4.0], [1.0])]


def test_only_so_many_wait() -> None:
    late = [(True, 0.5, -1.0)] * 100
    compared = compare([(False, 0.5, float(place)) for place in range(200)] + late)
    assert [stables for _, stables in compared] == [[float(place)] for place in range(199, 199 - WAITING, -1)]


def test_stages_do_not_mix() -> None:
    assert compare([(False, 0.5, 1.0), (True, 0.4, 2.0), (False, 0.5, 3.0), (True, 0.5, 4.0)]) == [([4.0], [3.0])]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.25, 0.5, 0.9]), st.floats(0, 1)), max_size=80))
def test_values_have_no_say_in_who_is_compared(units: Entered) -> None:
    numbered = [(canary, weight, float(place)) for place, (canary, weight, _) in enumerate(units)]
    values = [value for _, _, value in units]
    expected = [
        ([values[int(one)] for one in each], [values[int(one)] for one in beside]) for each, beside in compare(numbered)
    ]
    assert compare(units) == expected


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.25, 0.75]), st.floats(0, 1)), max_size=80))
def test_exchanged_arms_mirror_each_difference(units: Entered) -> None:
    mirrored = [(not canary, 1 - weight, value) for canary, weight, value in units]
    assert [difference(*each) for each in compare(mirrored)] == pytest.approx(
        [-difference(*each) for each in compare(units)]
    )


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5, 0.75])
def test_of_a_drift_little_stays_in_of_the_difference(weight: float) -> None:
    chance, many = random.Random(0), 20_000
    compared = compare([(chance.random() < weight, weight, place / many) for place in range(many)])
    drifted = sum(difference(*each) for each in compared) / len(compared)
    assert abs(drifted) < WAITING / many

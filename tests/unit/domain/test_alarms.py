"""Habits of replies, and alarms that ring once it is proved that the canary has drifted from the stable version."""

import math
import random

import pytest

from core.domain.alarms import ALARMS, habits_of, hear_distance, listen, repetition
from core.domain.sequential.verdict import Unit

SHORT = {"role": "assistant", "content": "It comes tomorrow."}


def test_a_conversation_has_the_mean_habits_of_its_replies() -> None:
    asking = {"role": "assistant", "content": [{"type": "text", "text": "Which one?"}]}
    found = habits_of([SHORT, asking])
    assert found["alarm:questions"] == 0.5
    assert found["alarm:length"] == pytest.approx((math.log(19) + math.log(11)) / 2)
    assert found["alarm:refusals"] == 0
    assert habits_of([]) == {}


def test_a_tool_call_whose_arguments_are_no_object_is_broken() -> None:
    def calling(arguments: object) -> float:
        call = {"id": "1", "function": {"name": "find", "arguments": arguments}}
        return habits_of([{"role": "assistant", "content": None, "tool_calls": [call]}])["alarm:broken_tool_calls"]

    assert [calling(arguments) for arguments in ('{"id": 1}', "", None, '{"id": ', "[]", 7)] == [0, 0, 0, 1, 1, 1]


def test_repetition_is_the_share_of_four_words_that_were_said_before() -> None:
    assert repetition("one two three four five six seven") == 0
    assert repetition("no no no no no no") == pytest.approx(1 - 1 / 3)
    assert repetition("too short") == 0


def units(canary: float, stable: float, habit: str, count: int = 400) -> list[Unit]:
    """Alternating arms; the habit is there with these chances."""
    chance = random.Random(7)
    return [
        Unit(is_canary, 0.5, {f"alarm:{habit}": float(chance.random() < (canary if is_canary else stable))})
        for _ in range(count)
        for is_canary in (True, False)
    ]


def ringing(found: list[dict[str, object]]) -> list[object]:
    return [one["alarm"] for one in found if one["rings"]]


def test_each_alarm_rings_for_its_habit_alone() -> None:
    assert ringing(listen(units(0.6, 0.1, "refusals"), error=0.05)) == ["more refusals"]
    assert ringing(listen(units(0.7, 0.1, "questions"), error=0.05)) == ["more questions"]


def test_fewer_refusals_and_a_drift_within_the_tolerance_ring_nothing() -> None:
    assert ringing(listen(units(0.1, 0.6, "refusals"), error=0.05)) == []
    assert ringing(listen(units(0.32, 0.25, "questions"), error=0.05)) == []


def test_lengths_are_compared_as_ratios_in_both_directions() -> None:
    def speaking(ratio: float) -> list[Unit]:
        chance = random.Random(3)
        return [
            Unit(is_canary, 0.5, {"alarm:length": math.log(60 * (ratio if is_canary else 1)) + chance.gauss(0, 0.3)})
            for _ in range(200)
            for is_canary in (True, False)
        ]

    assert ringing(listen(speaking(2.0), error=0.05)) == ["longer replies"]
    assert ringing(listen(speaking(0.5), error=0.05)) == ["shorter replies"]
    assert ringing(listen(speaking(1.2), error=0.05)) == []


def test_a_version_that_has_moved_far_rings_and_one_of_which_nothing_is_known_does_not() -> None:
    assert [hear_distance(kl)["rings"] for kl in (None, 0.1, 0.3)] == [False, False, True]


def test_the_figures_are_those_of_the_habit_and_not_of_its_contrary() -> None:
    found = {one["alarm"]: one for one in listen(units(0.6, 0.1, "refusals"), error=0.05)}
    refusals = found["more refusals"]
    assert isinstance(refusals["canary"], float)
    assert refusals["canary"] == pytest.approx(0.6, abs=0.08)
    assert refusals["stable"] == pytest.approx(0.1, abs=0.08)
    assert len(found) == len(ALARMS)

"""When outcomes that stay away raise the alarm, and when they do not."""

import random

import pytest

from core.domain.sequential.gates import Unit
from core.domain.silence import listen


def heard(canary: float, stable: float, *, many: int = 2_000, propensity: float = 0.25, seed: int = 0) -> list[Unit]:
    """Units of which these shares are told, all with the same value."""
    chance = random.Random(seed)
    arms = [chance.random() < propensity for _ in range(many)]
    told = [chance.random() < (canary if is_canary else stable) for is_canary in arms]
    return [
        Unit(is_canary, propensity, {"reward": 1.0 if is_told else None})
        for is_canary, is_told in zip(arms, told, strict=True)
    ]


def is_raised(units: list[Unit]) -> bool:
    return listen(units, "reward", error=0.01, margin=0.1).is_raised


@pytest.mark.parametrize(
    ("canary", "stable", "raised"), [(0.4, 0.8, True), (0.8, 0.8, False), (0.75, 0.8, False), (0.8, 0.4, False)]
)
def test_it_is_raised_where_a_canary_is_told_of_far_less(canary: float, stable: float, raised: bool) -> None:
    assert is_raised(heard(canary, stable)) is raised


def test_at_the_margin_chance_seldom_raises_it() -> None:
    raised = [is_raised(heard(0.7, 0.8, many=400, seed=seed)) for seed in range(100)]
    assert sum(raised) <= 1


def test_once_raised_it_stays_so() -> None:
    units = heard(0.2, 0.9, many=400)
    assert is_raised(units)
    assert is_raised([*units, *heard(1.0, 0.5, many=4_000, seed=1)])


def test_its_evidence_is_the_share_told_of_each_arm() -> None:
    units = [Unit(is_canary, 0.5, {"reward": value}) for is_canary, value in ((True, None), (True, 0.0), (False, 7.0))]
    evidence = listen([*units, Unit(False, 0.5, {})], "reward", error=0.01, margin=0.1).as_json()
    assert (evidence["canary"]["mean"], evidence["stable"]["mean"]) == (0.5, 0.5)

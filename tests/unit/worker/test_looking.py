"""One look at a trial: what rows of any stage come to."""

import random
from uuid import UUID

import pytest

from core.domain.episodes import Arm
from core.domain.gates import Gates, Measure
from core.domain.routing import draw
from core.domain.sequential.verdict import Decision
from core.storage.models import Canary, CanaryUnit
from core.storage.repositories.canaries import weight_of
from worker.canaries.looking import Look, look

RETURN = Measure("return", 0.0, 1.0, 1, None)


def seen(weight: float, *, tried: float, stable: float, conversations: int, told: float = 1.0, **gates: object) -> Look:
    """After so many conversations at that share, solved with these chances; the canary's are told of with `told`."""
    chance = random.Random(5)
    demands = Gates.from_json(gates)
    # The draws hang on the id, and now and then equal versions look unequal.
    canary = Canary(id=UUID(int=5), gates=demands.to_json(), measures=[RETURN.to_json()], weight=weight)
    rows = []
    for ordinal in range(conversations):
        drawn = draw(str(ordinal), agent=canary.id, canary=canary.id, weight=weight, holdout=0.0)
        is_canary = drawn.arm is Arm.CANARY
        solved = float(chance.random() < (tried if is_canary else stable))
        outcomes = {} if is_canary and chance.random() >= told else {"return": solved}
        share = weight_of(drawn.arm, drawn.propensity)
        rows.append(CanaryUnit(ordinal=ordinal, arm=drawn.arm, weight=share, outcomes=outcomes))
    return look(canary, rows, kl=None)


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 0.75])
def test_a_bad_version_is_seen_at_whatever_share_it_is_met(weight: float) -> None:
    found = seen(weight, tried=0.0, stable=0.8, conversations=round(40 / min(weight, 1 - weight)) + 200)
    assert (found.decision, found.because_of) == (Decision.ROLL_BACK, "return")
    assert found.next_weight is None


@pytest.mark.parametrize("weight", [0.05, 0.25])
def test_the_share_rises_once_the_stage_has_its_units_and_nothing_was_shown(weight: float) -> None:
    assert seen(weight, tried=0.5, stable=0.5, conversations=100).next_weight is None
    assert seen(weight, tried=0.5, stable=0.5, conversations=2_000).next_weight == {0.05: 0.25, 0.25: 0.5}[weight]
    assert seen(0.5, tried=0.5, stable=0.5, conversations=2_000).next_weight is None


def test_silence_takes_a_version_back_and_says_so() -> None:
    found = seen(0.5, tried=0.6, stable=0.6, conversations=400, told=0.4)
    assert (found.decision, found.because_of) == (Decision.ROLL_BACK, "silence")
    assert found.evidence["decision"] == "roll_back"


def test_both_arms_name_the_same_stage() -> None:
    for weight in (0.01, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.9):
        assert weight_of(Arm.CANARY, weight) == weight_of(Arm.STABLE, 1.0 - weight)

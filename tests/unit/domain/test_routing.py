"""Arms are drawn by hash: in their shares, the same for who returns, anew for each trial."""

from collections import Counter
from uuid import UUID

import pytest

from core.domain.episodes import Arm
from core.domain.routing import Drawn, draw

AGENT, TRIAL, ANOTHER = (UUID(int=number) for number in (1, 2, 3))
UNITS = [f"user:{number}" for number in range(20_000)]


def arm(unit: str, *, canary: UUID | None = TRIAL, weight: float = 0.25, holdout: float = 0.0) -> Arm:
    return draw(unit, agent=AGENT, canary=canary, weight=weight, holdout=holdout).arm


@pytest.mark.parametrize("weight", [0.01, 0.25, 0.5])
def test_each_share_of_units_falls_to_its_arm(weight: float) -> None:
    met = sum(arm(unit, weight=weight) is Arm.CANARY for unit in UNITS) / len(UNITS)
    assert met == pytest.approx(weight, abs=4 * (weight * (1 - weight) / len(UNITS)) ** 0.5)


def test_who_has_met_the_version_stays_with_it_while_its_share_grows() -> None:
    for unit in UNITS[:2_000]:
        met = [arm(unit, weight=weight) is Arm.CANARY for weight in (0.01, 0.05, 0.25, 0.5, 1.0)]
        assert met == sorted(met)
        assert met[-1]


def test_another_trial_draws_anew() -> None:
    both = sum(arm(unit, canary=TRIAL, weight=0.5) is arm(unit, canary=ANOTHER, weight=0.5) for unit in UNITS)
    assert both / len(UNITS) == pytest.approx(0.5, abs=0.02)


def test_without_a_trial_everybody_meets_the_stable_version() -> None:
    assert draw("anybody", agent=AGENT, canary=None, weight=0.5, holdout=0.0) == Drawn(Arm.STABLE, 1.0)
    assert arm("anybody", weight=0.0) is Arm.STABLE


def test_who_is_held_out_is_so_in_every_trial_and_the_others_keep_their_shares() -> None:
    first = [arm(unit, holdout=0.2, canary=TRIAL) for unit in UNITS]
    second = [arm(unit, holdout=0.2, canary=ANOTHER) for unit in UNITS]
    assert [one is Arm.HOLDOUT for one in first] == [one is Arm.HOLDOUT for one in second]
    counts = Counter(first)
    assert counts[Arm.HOLDOUT] / len(UNITS) == pytest.approx(0.2, abs=0.02)
    assert counts[Arm.CANARY] / (len(UNITS) - counts[Arm.HOLDOUT]) == pytest.approx(0.25, abs=0.02)


def test_the_propensity_is_the_share_of_the_arm_that_was_drawn() -> None:
    for unit in UNITS[:200]:
        drawn = draw(unit, agent=AGENT, canary=TRIAL, weight=0.3, holdout=0.1)
        assert drawn.propensity == {Arm.CANARY: 0.3, Arm.STABLE: 0.7, Arm.HOLDOUT: 0.1}[drawn.arm]

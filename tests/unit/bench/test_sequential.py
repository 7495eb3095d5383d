"""The bench decides as the core does, and its yardsticks are the textbook's."""

import numpy
import pytest

from bench.sequential.canaries import Scenario, compose
from bench.sequential.deciding import ERROR, decide, gates_of
from bench.sequential.fixed_horizon import units_needed, upper_bound
from core.domain.sequential.verdict import Decision, Unit, judge


@pytest.mark.parametrize("spread", ["bernoulli", "beta", "exponential"])
@pytest.mark.parametrize(("reward", "guard"), [(0.0, 0.0), (0.3, 0.15), (-0.3, 0.0), (0.3, -0.5)])
def test_it_decides_as_the_core_does(spread, reward, guard):
    for seed in range(3):
        chance = numpy.random.default_rng(seed)
        composition = compose(400, chance)
        scenario = Scenario("any", reward, guard, spread)
        values = scenario.draw(composition, chance)
        decided = decide(scenario, composition, values)
        units = [
            Unit(bool(arm), float(weight), {"reward": float(one), "guard": float(other)})
            for arm, weight, one, other in zip(composition.is_canary, composition.propensity, *values, strict=True)
        ]
        verdict = judge(units, gates_of(scenario), error=ERROR, most_units=400)
        assert verdict.decision is decided.decision
        if decided.decision is not Decision.INCONCLUSIVE:
            assert verdict.units == decided.unit + 1


def test_a_ramp_has_fifty_canaries_a_stage_and_the_rest_in_the_last():
    composition = compose(400, numpy.random.default_rng(0))
    counted = {
        weight: int(composition.is_canary[composition.propensity == weight].sum()) for weight in (0.01, 0.25, 0.5)
    }
    assert counted == {0.01: 50, 0.25: 50, 0.5: 250}


def test_the_fixed_test_needs_what_the_textbook_says():
    # (1.960 + 0.842)² (0.5 · 0.5 + 0.55 · 0.45) / 0.05² = 7.849 · 0.4975 / 0.0025
    assert units_needed(0.05, 0.8, 0.025, with_guard=False) == pytest.approx(1_562, abs=1)


def test_clopper_and_pearson():
    assert upper_bound(0, 100) == pytest.approx(1 - 0.025 ** (1 / 100))
    assert upper_bound(5, 100) == pytest.approx(0.1128349, abs=1e-6)
    assert upper_bound(3, 3) == 1.0

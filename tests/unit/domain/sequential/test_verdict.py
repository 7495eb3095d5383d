"""The decision: which gates must pass, which may fail, when it falls, and that it stands."""

import json
import math
import random
from collections.abc import Callable

import pytest

from core.domain.errors import InvalidValueError
from core.domain.sequential.gates import GateTest
from core.domain.sequential.verdict import Decision, Gate, Kind, Trial, Unit, Verdict, judge

REWARD = Gate("reward", Kind.SUPERIORITY, range=1.0)
GUARD = Gate("solved", Kind.NON_INFERIORITY, margin=0.1, range=1.0)
Draw = Callable[[random.Random], float]


def bernoulli(share: float) -> Draw:
    return lambda chance: float(chance.random() < share)


def units(
    many: int, *, canary: dict[str, Draw], stable: dict[str, Draw], propensity: float = 0.5, seed: int = 0
) -> list[Unit]:
    chance = random.Random(seed)
    drawn = []
    for _ in range(many):
        is_canary = chance.random() < propensity
        draws = canary if is_canary else stable
        drawn.append(Unit(is_canary, propensity, {metric: draw(chance) for metric, draw in draws.items()}))
    return drawn


def decide(drawn: list[Unit], *gates: Gate, most_units: int = 100_000) -> Verdict:
    return judge(drawn, gates or (REWARD, GUARD), error=0.05, most_units=most_units)


BETTER = {"reward": bernoulli(0.8), "solved": bernoulli(0.9)}
SAME = {"reward": bernoulli(0.5), "solved": bernoulli(0.9)}
WORSE = {"reward": bernoulli(0.2), "solved": bernoulli(0.9)}
GAMING = {"reward": bernoulli(0.8), "solved": bernoulli(0.5)}


@pytest.mark.parametrize(
    ("canary", "decision", "gate"),
    [
        (BETTER, Decision.PROMOTE, None),
        (SAME, Decision.HOLD, None),
        (WORSE, Decision.ROLL_BACK, "reward"),
        (GAMING, Decision.ROLL_BACK, "solved"),
    ],
)
def test_a_verdict_says_what_became_of_the_canary(
    canary: dict[str, Draw], decision: Decision, gate: str | None
) -> None:
    verdict = decide(units(2_000, canary=canary, stable=SAME))
    assert (verdict.decision, verdict.gate) == (decision, gate)


def test_a_better_reward_does_not_promote_while_a_guard_says_nothing() -> None:
    silent = [
        Unit(unit.is_canary, unit.propensity, {"reward": unit.values["reward"]})
        for unit in units(2_000, canary=BETTER, stable=SAME)
    ]
    assert decide(silent).decision is Decision.HOLD
    assert decide(silent, REWARD).decision is Decision.PROMOTE


def test_the_bars_are_those_of_half_the_budget_divided_among_rollbacks_only() -> None:
    evidence = decide([], REWARD, GUARD, Gate("kept", Kind.NON_INFERIORITY, 0.1, 1.0)).evidence
    assert [each["for"]["log_threshold"] for each in evidence] == pytest.approx([math.log(40)] * 3)
    assert [each["against"]["log_threshold"] for each in evidence] == pytest.approx([math.log(120)] * 3)


def test_it_crosses_where_the_wealth_by_hand_does() -> None:
    """Every difference is 1: each bet's wealth is (1 + share)ⁿ, and their mean passes 40 at the sixth."""
    shares = [0.02 * 47.5 ** (place / 11) for place in range(12)]
    wealth = [sum((1 + share) ** many for share in shares) / 12 for many in range(1, 20)]
    needed = next(many for many, each in enumerate(wealth, 1) if each >= 40)
    pairs = [Unit(is_canary, 0.5, {"reward": float(is_canary)}) for _ in range(30) for is_canary in (True, False)]
    verdict = decide(pairs, REWARD)
    assert (verdict.decision, verdict.units, verdict.canaries) == (Decision.PROMOTE, 2 * needed, needed)
    assert verdict.evidence[0]["for"]["log_e_value"] == pytest.approx(math.log(wealth[needed - 1]))


def test_a_verdict_stands_whatever_comes_after() -> None:
    good, bad = units(600, canary=BETTER, stable=SAME), units(3_000, canary=WORSE, stable=SAME, seed=1)
    assert decide(good).decision is Decision.PROMOTE
    assert decide([*good, *bad]) == decide(good)


def test_evidence_that_was_strong_once_counts_when_the_last_gate_passes() -> None:
    def pair(reward: float, solved: float | None) -> list[Unit]:
        return [
            Unit(True, 0.5, {"reward": reward, "solved": solved}),
            Unit(False, 0.5, {"reward": 0.5, "solved": solved}),
        ]

    won = [unit for _ in range(40) for unit in pair(1.0, None)]
    lost = [unit for _ in range(20) for unit in pair(0.3, None)]
    solved = [unit for _ in range(400) for unit in pair(0.5, 1.0)]
    verdict = decide([*won, *lost, *solved])
    assert verdict.decision is Decision.PROMOTE
    assert verdict.evidence[0]["for"]["crossed"]


def test_looking_after_each_unit_gives_the_same_verdict() -> None:
    drawn = units(400, canary=BETTER, stable=SAME)
    looked = [decide(drawn[:many]).decision for many in range(len(drawn) + 1)]
    fell = looked.index(Decision.PROMOTE)
    assert set(looked[:fell]) == {Decision.HOLD}
    assert set(looked[fell:]) == {Decision.PROMOTE}
    assert decide(drawn).units == fell


def test_a_canary_that_shows_nothing_is_inconclusive_after_its_most_units() -> None:
    verdict = decide(units(1_000, canary=SAME, stable=SAME), most_units=200)
    assert (verdict.decision, verdict.canaries) == (Decision.INCONCLUSIVE, 200)


@pytest.mark.parametrize("scale", [1.0, 5.0, 1_000.0])
def test_the_range_of_a_metric_does_not_matter(scale: float) -> None:
    gates = [
        Gate("reward", Kind.SUPERIORITY, range=scale),
        Gate("solved", Kind.NON_INFERIORITY, margin=0.1 * scale, range=scale),
    ]
    drawn = units(600, canary=BETTER, stable=SAME)
    scaled = [
        Unit(unit.is_canary, unit.propensity, {name: scale * (value or 0) for name, value in unit.values.items()})
        for unit in drawn
    ]
    ours, plain = decide(scaled, *gates), decide(drawn)
    assert (ours.decision, ours.units) == (plain.decision, plain.units)
    assert ours.evidence[0]["interval"] == pytest.approx([scale * end for end in plain.evidence[0]["interval"]])


def test_exchanged_arms_mirror_the_effect() -> None:
    drawn = units(300, canary=SAME, stable=SAME)
    mirrored = [Unit(not unit.is_canary, 1 - unit.propensity, unit.values) for unit in drawn]
    [ours], [theirs] = decide(drawn, REWARD).evidence, decide(mirrored, REWARD).evidence
    low, high = ours["interval"]
    assert theirs["difference"] == pytest.approx(-ours["difference"])
    assert theirs["interval"] == pytest.approx([-high, -low])
    assert theirs["for"]["log_e_value"] == pytest.approx(ours["against"]["log_e_value"])


def test_units_without_a_value_are_counted_and_left_out() -> None:
    drawn = units(400, canary=BETTER, stable=SAME)
    gaps = [Unit(is_canary, 0.5, {"reward": None, "solved": None}) for is_canary in (True, True, False)]
    mixed = [each for unit in drawn for each in (*gaps, unit)]
    plain, gappy = decide(drawn).evidence[0], decide(mixed).evidence[0]
    assert gappy["canary"]["missing"] == 2 * (plain["canary"]["told"] + plain["stable"]["told"])
    gappy["canary"]["missing"] = gappy["stable"]["missing"] = 0
    assert gappy == plain


def test_a_metric_without_a_range_is_decided_but_not_before_fifty_differences() -> None:
    gate = Gate("revenue", Kind.SUPERIORITY)
    draws: dict[str, Draw] = {"revenue": lambda chance: chance.expovariate(1 / 30)}
    better: dict[str, Draw] = {"revenue": lambda chance: 1_000 + chance.expovariate(1 / 30)}
    verdict = decide(units(400, canary=better, stable=draws), gate)
    assert verdict.decision is Decision.PROMOTE
    assert verdict.evidence[0]["differences"] == 50
    assert verdict.evidence[0]["test"] == "asymptotic"


def test_stages_with_other_base_rates_do_not_mislead() -> None:
    """Simpson's paradox: the canary is worse by ten points in each stage, and better by far in the pooled means."""
    stages = [(0.1, 0.3, 6_000), (0.5, 0.9, 1_200)]
    drawn = []
    for seed, (propensity, base, many) in enumerate(stages):
        canary, stable = {"reward": bernoulli(base - 0.1)}, {"reward": bernoulli(base)}
        drawn += units(many, canary=canary, stable=stable, propensity=propensity, seed=seed)
    verdict = decide(drawn, REWARD)
    trial = GateTest(REWARD, pass_error=1e-300, fail_error=1e-300)
    for unit in drawn:
        trial.enter(unit)
    pooled = trial.as_json()
    assert pooled["canary"]["mean"] > pooled["stable"]["mean"] + 0.05
    assert pooled["difference"] == pytest.approx(-0.1, abs=0.03)
    assert verdict.decision is Decision.ROLL_BACK


def test_a_verdict_is_json() -> None:
    verdict = decide(units(500, canary=BETTER, stable=SAME), REWARD, Gate("solved", Kind.NON_INFERIORITY, 0.1))
    assert json.loads(json.dumps(verdict.evidence, allow_nan=False)) == verdict.evidence


def test_the_interval_lies_about_the_effect_and_ends_above_the_bar_it_passed() -> None:
    [reward, guard] = decide(units(2_000, canary=BETTER, stable=SAME)).evidence
    for each in (reward, guard):
        low, high = each["interval"]
        assert low < each["difference"] < high
        assert each["confidence"] == 0.95
    assert guard["interval"][0] > -0.1 - 1e-3


@pytest.mark.parametrize(("margin", "reach"), [(-0.1, None), (1.0, 1.0), (0.5, 0.2)])
def test_a_margin_lies_within_its_range(margin: float, reach: float | None) -> None:
    with pytest.raises(InvalidValueError):
        Gate("solved", Kind.NON_INFERIORITY, margin, reach)


def test_canaries_at_the_edge_of_both_are_seldom_decided_wrongly() -> None:
    """No effect, and a guard at its margin: each verdict but hold is wrong. 5 % is the budget."""
    edge = {"reward": bernoulli(0.5), "solved": bernoulli(0.8)}
    wrong = [
        decide(units(600, canary=edge, stable=SAME, seed=seed)).decision is not Decision.HOLD for seed in range(150)
    ]
    assert sum(wrong) <= 0.05 * len(wrong)


def test_units_entered_one_by_one_are_judged_alike() -> None:
    drawn = units(300, canary=BETTER, stable=SAME)
    trial = Trial([REWARD, GUARD], error=0.05, most_units=1_000)
    for unit in drawn:
        trial.enter(unit)
    assert trial.verdict == decide(drawn, most_units=1_000)

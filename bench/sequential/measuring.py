"""The runs: canaries that must not be decided, and canaries that should be, as records."""

import time
from collections.abc import Sequence
from typing import Any

import numpy

from bench.sequential.canaries import BASE, GUARD_BASE, MARGIN, Scenario, compose
from bench.sequential.deciding import Decided, decide
from bench.sequential.fixed_horizon import units_needed, upper_bound
from core.domain.sequential.verdict import Decision

PROMOTION_ERROR = 0.025
WANTED = 0.8

NO_EFFECT = [
    Scenario("no effect, Bernoulli"),
    Scenario("no effect, beta"),
    Scenario("no effect, exponential without a range", spread="exponential"),
    Scenario("no effect, Bernoulli, both arms swing by 20 points every 1,000 units", swing=0.2),
]
AT_THE_MARGIN = [
    Scenario("reward +5 points, guard at its margin, Bernoulli", MARGIN, -MARGIN),
    Scenario("reward +5 points, guard at its margin, beta", MARGIN, -MARGIN, "beta"),
    Scenario("no effect, guard at its margin, Bernoulli", 0.0, -MARGIN),
]
"""Neither kind may be decided: not both gates hold, and neither is failed."""
EFFECTS = (0.02, 0.05, 0.1)


def play(scenarios: Sequence[Scenario], *, runs: int, canaries: int) -> dict[str, list[tuple[Decided, int, int]]]:
    """Each scenario on the same compositions: what was decided, and canary units by then and by the reward's gate."""
    found: dict[str, list[tuple[Decided, int, int]]] = {scenario.name: [] for scenario in scenarios}
    for run in range(runs):
        composition = compose(canaries, numpy.random.default_rng([run, canaries]))
        until = composition.is_canary.cumsum()
        for number, scenario in enumerate(scenarios):
            values = scenario.draw(composition, numpy.random.default_rng([run, canaries, number + 1]))
            decided = decide(scenario, composition, values)
            places = decided.unit, decided.reward_passed_at
            whole, reward = (int(until[-1 if place is None else place]) for place in places)
            found[scenario.name].append((decided, whole, reward))
    return found


def measure_errors(runs: int, canaries: int) -> dict[str, Any]:
    """The share of verdicts, all of which are wrong, and of a z-test's that is looked at as often."""
    start = time.monotonic()
    played = play([*NO_EFFECT, *AT_THE_MARGIN], runs=runs, canaries=canaries)
    rows = []
    for name, decided in played.items():
        promoted = sum(each.decision is Decision.PROMOTE for each, _, _ in decided)
        rolled_back = sum(each.decision is Decision.ROLL_BACK for each, _, _ in decided)
        at = sorted(count for each, count, _ in decided if each.decision is not Decision.INCONCLUSIVE)
        rows.append(
            {
                "scenario": name,
                "promoted": promoted,
                "rolled_back": rolled_back,
                "wrong_share": (promoted + rolled_back) / runs,
                "upper_95": upper_bound(promoted + rolled_back, runs),
                "wrong_at_canaries": at,
                "peeking_z_share": sum(each.peeked for each, _, _ in decided) / runs if "+5" not in name else None,
            }
        )
        print(f"{name}: {promoted} promoted, {rolled_back} rolled back of {runs}", flush=True)
    return {"runs": runs, "canaries": canaries, "rows": rows, "seconds": time.monotonic() - start}


def measure_power(runs: int, canaries: int, *, first: int) -> dict[str, Any]:
    """How many are promoted by `first` canary units and in all, and with how many; beside the fixed test."""
    scenarios = [Scenario(f"{effect:.0%}", effect) for effect in EFFECTS]
    rows = []
    for effect, decided in zip(EFFECTS, play(scenarios, runs=runs, canaries=canaries).values(), strict=True):
        at = sorted(count for each, count, _ in decided if each.decision is Decision.PROMOTE)
        reward_at = sorted(count for each, _, count in decided if each.reward_passed_at is not None)
        rows.append(
            {
                "effect": effect,
                "promoted_share_by_first": sum(count <= first for count in at) / runs,
                "promoted_share": len(at) / runs,
                "rolled_back": sum(each.decision is Decision.ROLL_BACK for each, _, _ in decided),
                "mean_canaries_to_verdict": sum(count for _, count, _ in decided) / runs,
                "canaries_for_80": _when(at, runs),
                "reward_canaries_for_80": _when(reward_at, runs),
                "mean_canaries_to_reward": sum(count for _, _, count in decided) / runs,
                "fixed_for_80": units_needed(effect, WANTED, PROMOTION_ERROR, with_guard=True),
                "fixed_reward_for_80": units_needed(effect, WANTED, PROMOTION_ERROR, with_guard=False),
                "promoted_at_canaries": at,
            }
        )
        print(f"effect {effect:.0%}: {len(at)} of {runs} promoted", flush=True)
    return {"runs": runs, "canaries": canaries, "first": first, "base": BASE, "guard_base": GUARD_BASE, "rows": rows}


def _when(at: Sequence[int], runs: int) -> int | None:
    wanted = -int(-WANTED * runs // 1)
    return at[wanted - 1] if len(at) >= wanted else None

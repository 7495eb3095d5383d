"""The yardsticks: a z-test with its sample size fixed in advance, and exact bounds on a share."""

import math
from statistics import NormalDist

from bench.sequential.canaries import BASE, GUARD_BASE, MARGIN

NORMAL = NormalDist()


def power(units: int, effect: float, base: float, error: float) -> float:
    """Of the one-sided z-test on Bernoulli shares with so many units of each arm.

    Φ(e √n / √(p(1-p) + (p+e)(1-p-e)) - z), where the effect e is what lies between truth and hypothesis.
    """
    variance = base * (1 - base) + (base + effect) * (1 - base - effect)
    return NORMAL.cdf(effect * math.sqrt(units / variance) - NORMAL.inv_cdf(1 - error))


def guard_power(units: int, error: float) -> float:
    """Of the same for a guard that is not changed at all."""
    return NORMAL.cdf(MARGIN * math.sqrt(units / (2 * GUARD_BASE * (1 - GUARD_BASE))) - NORMAL.inv_cdf(1 - error))


def units_needed(effect: float, wanted: float, error: float, *, with_guard: bool) -> int:
    """The least number of units of each arm with the wanted power; both gates are passed independently."""

    def reached(units: int) -> float:
        return power(units, effect, BASE, error) * (guard_power(units, error) if with_guard else 1.0)

    low, high = 0, 1
    while reached(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= wanted else (middle, high)
    return high


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Of the two-sided Clopper-Pearson interval: where the chance of so few hits is (1 - confidence) / 2."""
    if hits == trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, trials, middle) > (1 - confidence) / 2 else (low, middle)
    return high


def _at_most(hits: int, trials: int, share: float) -> float:
    return math.fsum(
        math.exp(
            math.lgamma(trials + 1)
            - math.lgamma(count + 1)
            - math.lgamma(trials - count + 1)
            + count * math.log(share)
            + (trials - count) * math.log1p(-share)
        )
        for count in range(hits + 1)
    )

"""Bets against the mean of bounded differences: wealth that only a false hypothesis lets grow, however often one looks.

Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting", JRSS-B 86(1): the capital
process for one mean, mixed over a fixed grid of bets.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

LEAST, LARGEST, BETS = 0.02, 0.95, 12
SHARES = tuple(LEAST * (LARGEST / LEAST) ** (place / (BETS - 1)) for place in range(BETS))
"""Each bet as a share of the largest that cannot ruin. Evenly spaced as ratios: the best bet is near effect / variance,
and twice too small costs as much for a small effect as for a large one."""
HALVINGS = 14
"""Of the way from -1 to the mean, where an interval's end is sought: to about a ten-thousandth."""


class Bets:
    """The wealth of each bet that E[D] ≤ bound is wrong, for differences D in [-1, 1].

        K_j(n) = Π_i (1 + λ_j (D_i - bound))        λ_j = share_j / (1 + bound)        E(n) = mean of K_j(n) over j

    No factor is below 1 - share_j > 0, and none has an expectation above 1 while the hypothesis holds. So E is an
    e-process: the chance that it ever reaches 1 / α is at most α (Ville's inequality). `logs` are the log K_j, all that
    is to be kept to go on later.
    """

    __slots__ = ("_stakes", "bound", "logs")

    def __init__(self, bound: float, logs: Sequence[float] = (0.0,) * BETS) -> None:
        self.bound = bound
        self.logs = list(logs)
        self._stakes = stakes(bound)

    def enter(self, difference: float) -> None:
        """One more difference."""
        excess = difference - self.bound
        self.logs = [log + math.log1p(stake * excess) for log, stake in zip(self.logs, self._stakes, strict=True)]

    @property
    def log_evidence(self) -> float:
        """log E."""
        return log_mean_exp(self.logs)


def stakes(bound: float) -> list[float]:
    """The bets λ_j against E[D] ≤ bound."""
    return [share / (1 + bound) for share in SHARES]


def log_mean_exp(logs: Sequence[float]) -> float:
    """log of the mean of what these are the logs of."""
    largest = max(logs)
    return largest + math.log(math.fsum(math.exp(log - largest) for log in logs) / len(logs))


def interval(differences: Sequence[float], error: float) -> tuple[float, float]:
    """The means in [-1, 1] that bets in neither direction refute at error / 2: a confidence sequence's interval now.

    The wealth against E[D] ≤ m falls as m grows, so each end is found by halving.
    """
    counted = Counter(differences)
    lower = _lowest(counted, error / 2)
    upper = -_lowest({-each: times for each, times in counted.items()}, error / 2)
    return lower, upper


def _lowest(counted: Mapping[float, int], error: float) -> float:
    if not any(each > -1 for each in counted):
        return -1.0
    refuted, standing = -1.0, sum(each * times for each, times in counted.items()) / sum(counted.values())
    for _ in range(HALVINGS):
        middle = (refuted + standing) / 2
        if _log_evidence(counted, middle) >= -math.log(error):
            refuted = middle
        else:
            standing = middle
    return refuted


def _log_evidence(counted: Mapping[float, int], bound: float) -> float:
    logs = [
        math.fsum(times * math.log1p(stake * (each - bound)) for each, times in counted.items())
        for stake in stakes(bound)
    ]
    return log_mean_exp(logs)

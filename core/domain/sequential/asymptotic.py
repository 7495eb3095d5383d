"""The same for differences without a range: evidence as if sums were normal, from fifty differences on.

Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 52(6): any margin for a Gaussian walk, scaled by the estimated deviation, holds
asymptotically. The margin is that of the one-sided normal mixture in Howard, Ramdas, McAuliffe & Sekhon (2021),
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), proposition 5.
"""

import math
from collections.abc import Sequence

FIRST = 50
"""Differences before which nothing is decided, and for which the margin is made narrowest."""
HALVINGS = 50
FAR_BELOW = -30.0


class NormalMixture:
    """Evidence that E[D] ≤ bound is wrong.

        log E(n) = ½ log(4ρ / (n + ρ)) + s² / (2 (n + ρ)) + log Φ(s / √(n + ρ))        s = n (mean - bound) / deviation

    0 before the fiftieth difference, and while none differs from another: there is no deviation to scale by then.
    """

    __slots__ = ("_squares", "bound", "count", "mean", "rho")

    def __init__(self, bound: float, error: float) -> None:
        self.bound = bound
        self.rho = tuned_rho(FIRST, error)
        self.count = 0
        self.mean = 0.0
        self._squares = 0.0

    def enter(self, difference: float) -> None:
        """One more difference; mean and squared deviations by Welford's recursion."""
        self.count += 1
        off = difference - self.mean
        self.mean += off / self.count
        self._squares += off * (difference - self.mean)

    @property
    def deviation(self) -> float:
        """Of the differences so far."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    @property
    def log_evidence(self) -> float:
        """log E."""
        if self.count < FIRST or self.deviation <= 0:
            return 0.0
        walked = self.count * (self.mean - self.bound) / self.deviation
        return log_mixture(walked, self.count, self.rho)


def log_mixture(walked: float, time: float, rho: float) -> float:
    """log of the mixture over half-normal drifts, of variance 1/ρ, of the odds for a Gaussian walk against none."""
    spread = time + rho
    height = walked / math.sqrt(spread)
    if height < FAR_BELOW:  # Φ would be 0 there; Φ(-x) is close to exp(-x²/2) / (x √(2π)), whose square cancels
        return 0.5 * math.log(4 * rho / spread) - math.log(-height * math.sqrt(2 * math.pi))
    return 0.5 * math.log(4 * rho / spread) + height * height / 2 + math.log(0.5 * math.erfc(-height / math.sqrt(2)))


def tuned_rho(time: float, error: float) -> float:
    """The ρ whose one-sided boundary at `error` is about the lowest at `time`.

    time / ρ = log(1 + 2 log(1/α)) + 2 log(1/α), which is close to the exact -W₋₁(-α²/e) - 1 of the two-sided boundary;
    one side alone is tuned as both would be at α = 2 error.
    """
    odds = -2 * math.log(2 * error)
    return time / (math.log1p(odds) + odds)


def boundary(time: float, rho: float, error: float) -> float:
    """Where the mixture reaches 1 / error at this time: sought by halving below a bound in closed form.

    √(2 (t + ρ) log(1 + √((t + ρ) / ρ) / (2α))) is never below it.
    """
    spread = time + rho
    low, high = 0.0, math.sqrt(2 * spread * math.log1p(math.sqrt(spread / rho) / (2 * error)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if log_mixture(middle, time, rho) >= -math.log(error) else (middle, high)
    return high


def interval(differences: Sequence[float], error: float) -> tuple[float, float] | None:
    """The means that neither direction refutes at error / 2; None before the fiftieth difference."""
    moments = NormalMixture(0.0, error / 2)
    for each in differences:
        moments.enter(each)
    if moments.count < FIRST:
        return None
    margin = moments.deviation * boundary(moments.count, moments.rho, error / 2) / moments.count
    return moments.mean - margin, moments.mean + margin

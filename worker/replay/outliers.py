"""Rewards far outside what is usual, brought back to the edge of it; knows no rows and no metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

USUAL = (0.05, 0.95)
"""The quantiles between which a reward is usual."""


@dataclass(frozen=True, slots=True)
class Fences:
    """The least and the largest reward that is believed."""

    low: float
    high: float

    def hold(self, reward: float) -> float:
        """The reward, or the fence that it lies beyond."""
        return min(max(reward, self.low), self.high)


def fences_of(rewards: Sequence[float], spreads: float) -> Fences | None:
    """[q₀.₀₅ - k w, q₀.₉₅ + k w] with w = q₀.₉₅ - q₀.₀₅, of the rewards that are not 0; None where w is 0.

    Most turns earn nothing, and would have any reward at all look rare. Where nine tenths earn the same, nothing tells
    a mistake from a rare event, and all are believed.
    """
    paid = sorted(reward for reward in rewards if reward != 0)
    if not paid:
        return None
    low, high = (_quantile(paid, share) for share in USUAL)
    width = high - low
    return Fences(low - spreads * width, high + spreads * width) if width > 0 else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two values nearest to that place, in proportion."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])

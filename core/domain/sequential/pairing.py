"""Which stable units each canary unit is compared with: by arm and order alone, so that no value can bend it.

A unit's arm is drawn without regard to what will come of it. Which units are compared follows from arms alone (and from
whose outcome is known), each unit is used once, and both sides of a comparison met the same share of canaries. So a
difference of means has the effect as its expectation, whatever the differences before it were: what a test that may be
looked at after every unit needs. Stages have other units (another week, another hour), and are never mixed: pooled
over stages, a canary that is worse in each can look better (Simpson's paradox). Within a stage those near each other in
time are compared: of a drift, only as much stays in a difference as happens while WAITING units of an arm arrive.
"""

from collections import deque

MOST_BESIDE = 10
"""Units of the larger arm in one difference: more would hardly make it sharper, and it would come later."""
WAITING = 50
"""Units of an arm that wait for the other at most; the newest stay."""
ROUNDING = 1e-9


class Pairing:
    """The units of one metric, in their order; those that wait for their counterparts."""

    def __init__(self) -> None:
        self._propensity: float | None = None
        self._canaries: deque[float] = deque(maxlen=WAITING)
        self._stables: deque[float] = deque(maxlen=WAITING)

    def enter(self, *, is_canary: bool, propensity: float, value: float) -> tuple[list[float], list[float]] | None:
        """The values of canary and of stable units that this unit completes a comparison of, if it does.

        The newest of those that wait go first: they lie nearest in time. The rest of the same stage may wait on.
        """
        if propensity != self._propensity:
            self._propensity = propensity
            self._canaries.clear()
            self._stables.clear()
        (self._canaries if is_canary else self._stables).append(value)
        canaries, stables = units_compared(propensity)
        if len(self._canaries) < canaries or len(self._stables) < stables:
            return None
        return [self._canaries.pop() for _ in range(canaries)], [self._stables.pop() for _ in range(stables)]


def units_compared(propensity: float) -> tuple[int, int]:
    """How many canary and stable units make a difference where canaries have this share: 1 and r, or r and 1.

    r = min(10, max(1, ⌊(1 - w) / w⌋)) for w ≤ ½, and the same with the arms exchanged above it.
    """
    rarer = min(propensity, 1 - propensity)
    beside = min(MOST_BESIDE, max(1, int((1 - rarer) / max(rarer, ROUNDING) + ROUNDING)))
    return (1, beside) if propensity <= 0.5 else (beside, 1)


def difference(canaries: list[float], stables: list[float]) -> float:
    """Mean of the one less mean of the other."""
    return sum(canaries) / len(canaries) - sum(stables) / len(stables)

"""What an offline comparison comes to: not worse, worse, or nothing that could be said; knows no tensors."""

from dataclasses import dataclass

from core.domain.canaries import EvaluationState

FLOOR = 50.0
"""Effective number of end users below which nothing is concluded, and no interval is shown."""
MARGIN = 0.2
"""What still passes as no worse, in standard deviations of what conversations bring: a small effect to Cohen 1988."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the difference to the stable version lies."""

    low: float
    high: float


def too_few(conversations: int, units: int) -> str:
    """Why nothing is weighed at all: no weights could make more of them than they are."""
    return (
        f"The stable version held {conversations} usable conversations with an outcome, of {units} end users; "
        f"{FLOOR:.0f} end users are needed."
    )


def decide(difference: Bounds, *, effective: float, spread: float) -> tuple[EvaluationState, str]:
    """The state, and the sentence that says why. `spread` is the standard deviation of what conversations brought."""
    if effective < FLOOR:
        return EvaluationState.UNDECIDED, (
            f"The conversations are worth {effective:.0f} end users to it, {FLOOR:.0f} are needed: it speaks too "
            "differently from the stable version."
        )
    if spread == 0:
        return EvaluationState.UNDECIDED, "All conversations were rewarded alike: no version is better than another."
    found = f"The difference lies between {difference.low:+.3g} and {difference.high:+.3g}"
    if difference.high < 0:
        return EvaluationState.WORSE, f"{found}: it is worse than the stable version."
    margin = MARGIN * spread
    if difference.low >= -margin:
        return EvaluationState.PASSED, f"{found}: it is not worse than the stable version by more than {margin:.3g}."
    return EvaluationState.UNDECIDED, f"{found}: it may be worse by more than {margin:.3g}."

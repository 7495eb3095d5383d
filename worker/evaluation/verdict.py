"""What an offline comparison comes to: not worse, worse, or nothing that could be said; knows no tensors."""

from dataclasses import dataclass

from core.domain.canaries import EvaluationState

FLOOR = 50.0
"""Effective number of end users below which nothing is concluded, and no interval is shown."""
COVERED = 0.9
"""Share of what a version would say that the logged conversations must hold, as far as their weights can tell. The mean
weight is 1 if they hold all. Where they never say what the version mostly would, weights are small and alike, and look
like many."""
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


def too_different(effective: float) -> str:
    """Why nothing is concluded where next to nothing that was said is anything that the version would say."""
    return (
        f"The conversations are worth {effective:.0f} end users to it, {FLOOR:.0f} are needed: it speaks too "
        "differently from the stable version."
    )


def decide(
    difference: Bounds, *, effective: float, covered: float, spread: float, taught: int = 0
) -> tuple[EvaluationState, str]:
    """The state, and the sentence that says why.

    `covered` is the upper bound of the weights' mean, `spread` the standard deviation of what conversations brought,
    `taught` how many of them the version was made of: those may show that it is worse, and never that it is not.
    """
    if effective < FLOOR:
        return EvaluationState.UNDECIDED, too_different(effective)
    if covered < COVERED:
        return EvaluationState.UNDECIDED, (
            f"The conversations hold at most {covered:.0%} of what it would say: the rest is not known."
        )
    if spread == 0:
        return EvaluationState.UNDECIDED, "All conversations were rewarded alike: no version is better than another."
    found = f"The difference lies between {difference.low:+.3g} and {difference.high:+.3g}"
    if difference.high < 0:
        return EvaluationState.WORSE, f"{found}: it is worse than the stable version."
    margin = MARGIN * spread
    if difference.low >= -margin and taught:
        return EvaluationState.UNDECIDED, f"{found}, but {taught} of the conversations taught it, and flatter it."
    if difference.low >= -margin:
        return EvaluationState.PASSED, f"{found}: it is not worse than the stable version by more than {margin:.3g}."
    return EvaluationState.UNDECIDED, f"{found}: it may be worse by more than {margin:.3g}."

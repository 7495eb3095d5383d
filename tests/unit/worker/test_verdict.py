"""What an offline comparison comes to, by its figures."""

import pytest

from core.domain.canaries import EvaluationState
from worker.evaluation.verdict import Bounds, decide, too_few

PASSED, WORSE, UNDECIDED = EvaluationState.PASSED, EvaluationState.WORSE, EvaluationState.UNDECIDED


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.1, 0.3, PASSED),
        (-0.1, 0.3, PASSED),
        (-0.2, -0.0, PASSED),
        (-0.21, 0.9, UNDECIDED),
        (-0.1, -0.01, WORSE),  # whatever the margin allows, it is worse
        (-9.0, -3.0, WORSE),
    ],
)
def test_a_version_passes_if_it_is_not_worse_by_more_than_the_margin(
    low: float, high: float, state: EvaluationState
) -> None:
    assert decide(Bounds(low, high), effective=50.0, covered=1.1, spread=1.0)[0] is state


def test_the_margin_goes_with_what_conversations_bring() -> None:
    assert decide(Bounds(-2.0, 0.5), effective=60.0, covered=1.0, spread=10.0)[0] is PASSED
    assert decide(Bounds(-2.0, 0.5), effective=60.0, covered=1.0, spread=9.0)[0] is UNDECIDED


@pytest.mark.parametrize(
    ("effective", "covered", "spread", "why"),
    [
        (49.9, 1.0, 1.0, "worth 50 end users to it, 50 are needed"),
        (3.0, 1.0, 1.0, "worth 3 end users"),
        (200.0, 0.6, 1.0, "at most 60% of what it would say"),
        (200.0, 1.0, 0.0, "rewarded alike"),
    ],
)
def test_nothing_is_concluded_of_what_the_conversations_do_not_say(
    effective: float, covered: float, spread: float, why: str
) -> None:
    state, reason = decide(Bounds(0.5, 0.6), effective=effective, covered=covered, spread=spread)
    assert state is UNDECIDED
    assert why in reason


def test_too_few_end_users_are_named_with_what_is_needed() -> None:
    assert "of 7 end users; 50 end users are needed" in too_few(12, 7)


def test_conversations_that_taught_a_version_may_show_that_it_is_worse_and_never_that_it_is_not() -> None:
    assert decide(Bounds(0.1, 0.3), effective=60.0, covered=1.0, spread=1.0, taught=1)[0] is UNDECIDED
    assert decide(Bounds(-0.3, -0.1), effective=60.0, covered=1.0, spread=1.0, taught=1)[0] is WORSE

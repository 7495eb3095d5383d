"""When an outcome counts as known: by what was said, and by how long nobody said anything."""

from datetime import timedelta

import pytest

from core.domain.conversations import ConversationState
from core.domain.maturity import next_change, state_after
from core.domain.metrics import Metric, MetricKind
from core.domain.rewards import Fold

AWAITING, MATURED, EXPIRED = ConversationState.AWAITING, ConversationState.MATURED, ConversationState.EXPIRED
NOW, HOUR, DAY, WEEK = timedelta(0), timedelta(hours=1), timedelta(days=1), timedelta(days=7)
RESOLVED = Metric("resolved", window_seconds=DAY.total_seconds())
STARS = Metric("stars", window_seconds=WEEK.total_seconds())
MOOD = Metric("mood", required=False, window_seconds=HOUR.total_seconds())
NOTE = Metric("note", MetricKind.COMMENT, window_seconds=10 * WEEK.total_seconds())
ALL = [RESOLVED, STARS, MOOD, NOTE]


def known(*names: str) -> Fold:
    return Fold({}, 1.0 if names else None, frozenset(names))


@pytest.mark.parametrize(
    ("names", "waited", "state"),
    [
        ((), NOW, AWAITING),
        (("resolved",), NOW, AWAITING),
        (("resolved", "mood"), WEEK - HOUR, AWAITING),
        (("resolved", "stars"), NOW, MATURED),
        (("resolved",), WEEK, MATURED),  # all windows have passed, and something was said
        (("mood",), WEEK, MATURED),
        ((), WEEK, EXPIRED),
        ((), 10 * WEEK, EXPIRED),
    ],
)
def test_required_metrics_decide_until_every_window_has_passed(
    names: tuple[str, ...], waited: timedelta, state: ConversationState
) -> None:
    assert state_after(known(*names), ALL, waited) is state


def test_without_required_metrics_any_value_matures_and_none_expires() -> None:
    assert state_after(known("mood"), [MOOD], NOW) is MATURED
    assert state_after(known(), [MOOD], NOW) is AWAITING
    assert state_after(known(), [MOOD], HOUR) is EXPIRED


@pytest.mark.parametrize("metrics", [[], [NOTE], [Metric("recorded", weight=0.0, window_seconds=0.0)]])
def test_an_agent_without_metrics_that_count_waits_a_week_for_its_reward(metrics: list[Metric]) -> None:
    assert state_after(known(), metrics, WEEK - HOUR) is AWAITING
    assert state_after(known(), metrics, WEEK) is EXPIRED
    assert state_after(known("reward"), metrics, NOW) is MATURED
    assert next_change(known(), metrics, NOW, AWAITING) == WEEK


def test_time_may_change_what_awaits_at_each_window_and_what_expired_never() -> None:
    assert next_change(known(), ALL, NOW, AWAITING) == HOUR
    assert next_change(known(), ALL, HOUR, AWAITING) == DAY
    assert next_change(known(), ALL, WEEK - HOUR, AWAITING) == WEEK
    assert next_change(known(), ALL, WEEK, EXPIRED) is None


def test_what_matured_changes_only_where_a_missing_value_will_be_assumed() -> None:
    tip = Metric("tip", required=False, window_seconds=DAY.total_seconds(), missing=0.0)
    metrics = [RESOLVED, tip]
    assert next_change(known("resolved"), metrics, NOW, MATURED) == DAY
    assert next_change(known("resolved", "tip"), metrics, NOW, MATURED) is None
    assert next_change(known("resolved", "tip"), metrics, DAY, MATURED) is None
    assert next_change(known("resolved"), ALL, NOW, MATURED) is None

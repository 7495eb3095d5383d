"""Declared metrics: which declarations make sense, and which values fit them."""

import math

import pytest

from core.domain.errors import InvalidValueError
from core.domain.metrics import (
    REWARD,
    Direction,
    Level,
    Metric,
    MetricKind,
    Value,
    check_level,
    check_metric,
    check_value,
    find_metric,
)


def test_every_agent_has_reward_and_may_declare_its_own() -> None:
    assert find_metric([], "reward") == REWARD
    own = Metric("reward", low=0.0, high=1.0)
    assert find_metric([own], "reward") == own
    with pytest.raises(InvalidValueError, match="no metric 'mood'") as refused:
        find_metric([own], "mood")
    assert (refused.value.code, refused.value.param) == ("unknown_metric", "metric")


RATED = Metric("stars", low=1.0, high=5.0)
SOLVED = Metric("resolved", MetricKind.BOOLEAN)
NOTE = Metric("note", MetricKind.COMMENT)


@pytest.mark.parametrize(
    ("metric", "value", "kept"),
    [(RATED, 1, 1.0), (RATED, 5.0, 5.0), (SOLVED, True, True), (NOTE, "fine", "fine"), (REWARD, -1e9, -1e9)],
)
def test_a_value_that_fits_is_kept_in_the_metrics_type(metric: Metric, value: object, kept: Value) -> None:
    assert check_value(metric, value) == kept
    assert type(check_value(metric, value)) is type(kept)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (RATED, 0.9),
        (RATED, 5.1),
        (RATED, True),
        (RATED, "5"),
        (RATED, None),
        (REWARD, math.nan),
        (REWARD, math.inf),
        (REWARD, -math.inf),
        (REWARD, 10**400),
        (REWARD, [1.0]),
        (SOLVED, 1),
        (SOLVED, "true"),
        (NOTE, 1.0),
        (NOTE, "  "),
    ],
)
def test_a_value_that_does_not_fit_is_refused(metric: Metric, value: object) -> None:
    with pytest.raises(InvalidValueError) as refused:
        check_value(metric, value)
    assert refused.value.param == "value"


@pytest.mark.parametrize(
    "metric",
    [
        REWARD,
        RATED,
        SOLVED,
        NOTE,
        Metric("handed over", MetricKind.BOOLEAN, weight=-1.0, direction=Direction.LOWER),
        Metric("latency", weight=0.0, direction=Direction.LOWER, guard=True),
        Metric("sale", level=Level.CONVERSATION, low=0.0, missing=0.0),
        Metric("resolved", MetricKind.BOOLEAN, missing=False),
        Metric("note", MetricKind.COMMENT, direction=Direction.LOWER),
    ],
)
def test_a_declaration_that_makes_sense_is_taken(metric: Metric) -> None:
    check_metric(metric)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (Metric("reward", MetricKind.BOOLEAN), "is a float"),
        (Metric("stars", low=5.0, high=1.0), "low below its high"),
        (Metric("stars", low=1.0, high=1.0), "low below its high"),
        (Metric("resolved", MetricKind.BOOLEAN, low=0.0), "has no range"),
        (Metric("note", MetricKind.COMMENT, guard=True), "cannot guard"),
        (Metric("latency", weight=1.0, direction=Direction.LOWER), "rewards the contrary"),
        (Metric("stars", weight=-1.0), "rewards the contrary"),
        (Metric("note", MetricKind.COMMENT, missing=0.0), "cannot have a value for `missing`"),
        (Metric("thumb", level=Level.TURN, missing=0.0), "cannot have a value for `missing`"),
        (Metric("stars", low=1.0, missing=0.0), "takes numbers from 1"),
        (Metric("resolved", MetricKind.BOOLEAN, missing=0.0), "true or false"),
        (Metric("stars", missing=True), "takes a number"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(metric: Metric, why: str) -> None:
    with pytest.raises(InvalidValueError, match=why):
        check_metric(metric)


def test_a_value_of_the_other_level_is_refused() -> None:
    thumb, sale, both = Metric("thumb", level=Level.TURN), Metric("sale", level=Level.CONVERSATION), Metric("stars")
    check_level(thumb, of_turn=True)
    check_level(sale, of_turn=False)
    for of_turn in (True, False):
        check_level(both, of_turn=of_turn)
    for metric, of_turn in ((thumb, False), (sale, True)):
        with pytest.raises(InvalidValueError) as refused:
            check_level(metric, of_turn=of_turn)
        assert (refused.value.code, refused.value.param) == ("wrong_level", "turn_id")

"""What an agent's outcomes are measured in: the declaration of a metric, and whether a value fits it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.domain.errors import InvalidValueError

Value = float | bool | str
DAY_SECONDS = 86_400.0


class MetricKind(StrEnum):
    FLOAT = "float"
    BOOLEAN = "boolean"
    COMMENT = "comment"
    DEMONSTRATION = "demonstration"


class Combine(StrEnum):
    """How the values that several sources give for one target become one."""

    MEAN = "mean"
    SUM = "sum"
    LAST = "last"
    MAX = "max"


class Level(StrEnum):
    """What a metric speaks of, where it does not speak of both."""

    TURN = "turn"
    CONVERSATION = "conversation"


class Direction(StrEnum):
    """Which values are good."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that outcomes say."""

    name: str
    kind: MetricKind = MetricKind.FLOAT
    weight: float = 1.0
    """Its part in the reward; 0 records it only, below 0 makes it a cost."""
    combine: Combine = Combine.MEAN
    required: bool = True
    """Whether the outcome counts as unknown while it has no value, until every window has passed."""
    low: float | None = None
    high: float | None = None
    level: Level | None = None
    """None takes values of turns and of conversations."""
    direction: Direction = Direction.HIGHER
    window_seconds: float = 7 * DAY_SECONDS
    """How long after its conversation's end a value may take: until then nothing follows from there being none."""
    missing: float | bool | None = None
    """What no value means once the window has passed; None leaves it unknown."""
    guard: bool = False
    """Whether it may not get worse, whatever the reward gains."""

    @property
    def counts(self) -> bool:
        """Whether its values enter the reward."""
        return self.weight != 0 and self.kind in (MetricKind.FLOAT, MetricKind.BOOLEAN)

    @property
    def demonstrates(self) -> bool:
        """Whether its values are replies to be learned."""
        return self.weight != 0 and self.kind is MetricKind.DEMONSTRATION

    @property
    def is_bounded(self) -> bool:
        """Whether its declaration says what the largest and the least values are."""
        return self.kind is not MetricKind.FLOAT or (self.low is not None and self.high is not None)


REWARD = Metric("reward", required=False)
"""The metric that every agent has."""


def by_name(declared: Sequence[Metric]) -> dict[str, Metric]:
    """The agent's metrics, with `reward`, which may be declared and need not be."""
    return {metric.name: metric for metric in [REWARD, *declared]}


def find_metric(declared: Sequence[Metric], name: str) -> Metric:
    """The agent's metric of that name."""
    found = by_name(declared).get(name)
    if found is None:
        raise InvalidValueError(f"This agent has no metric {name!r}.", code="unknown_metric", param="metric")
    return found


def check_metric(metric: Metric) -> None:
    """Raise InvalidValueError for a declaration that contradicts itself."""
    is_number = metric.kind in (MetricKind.FLOAT, MetricKind.BOOLEAN)
    if metric.name == REWARD.name and metric.kind is not MetricKind.FLOAT:
        raise _contradiction(metric, "is a float that every agent has")
    if metric.low is not None and metric.high is not None and metric.low >= metric.high:
        raise _contradiction(metric, "must have its low below its high")
    if metric.kind is not MetricKind.FLOAT and (metric.low, metric.high) != (None, None):
        raise _contradiction(metric, "is no float and has no range")
    if metric.guard and not is_number:
        raise _contradiction(metric, "is a text and cannot guard anything")
    if metric.counts and (metric.weight > 0) is (metric.direction is Direction.LOWER):
        raise _contradiction(metric, f"is better {metric.direction.value}, and its weight rewards the contrary")
    if metric.missing is None:
        return
    if not is_number or metric.level is Level.TURN:
        raise _contradiction(metric, "cannot have a value for `missing`: only numbers of whole conversations can")
    check_value(metric, metric.missing)


def check_browser_metric(declared: Sequence[Metric], name: str) -> None:
    """Raise InvalidValueError for a metric that one browser could outweigh everybody with, or that is of no turn."""
    metric, why = by_name(declared).get(name), None
    if metric is None:
        why = "is not one of the agent's"
    elif metric.kind is not MetricKind.BOOLEAN and (metric.low is None or metric.high is None):
        why = "must be a boolean, or a float with low and high, for browsers to say it"
    elif metric.level is Level.CONVERSATION:
        why = "is of whole conversations, and browsers speak of turns"
    if why is not None:
        raise InvalidValueError(f"Metric {name!r} {why}.", code="unfit_browser_metric", param="browser_metric")


def check_level(metric: Metric, *, of_turn: bool) -> None:
    """Raise InvalidValueError for a value of the other level."""
    if metric.level is Level.TURN and not of_turn:
        raise InvalidValueError(f"Metric {metric.name!r} is of turns: name one.", code="wrong_level", param="turn_id")
    if metric.level is Level.CONVERSATION and of_turn:
        raise InvalidValueError(
            f"Metric {metric.name!r} is of whole conversations: name no turn.", code="wrong_level", param="turn_id"
        )


def check_value(metric: Metric, value: object) -> Value:
    """The value as the metric's type, or an error that says why it does not fit."""
    if metric.kind is MetricKind.BOOLEAN:
        if not isinstance(value, bool):
            raise InvalidValueError(f"Metric {metric.name!r} takes true or false.", param="value")
        return value
    if metric.kind is not MetricKind.FLOAT:
        if not isinstance(value, str) or not value.strip():
            raise InvalidValueError(f"Metric {metric.name!r} takes a text that is not empty.", param="value")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValueError(f"Metric {metric.name!r} takes a number.", param="value")
    number = float(value) if abs(value) < 1e300 else math.inf
    if not math.isfinite(number):
        raise InvalidValueError(f"Metric {metric.name!r} takes a finite number.", param="value")
    low, high = (-math.inf if metric.low is None else metric.low), (math.inf if metric.high is None else metric.high)
    if not low <= number <= high:
        raise InvalidValueError(f"Metric {metric.name!r} takes numbers from {low:g} to {high:g}.", param="value")
    return number


def _contradiction(metric: Metric, what: str) -> InvalidValueError:
    return InvalidValueError(f"Metric {metric.name!r} {what}.", param="metrics")

"""The ledger's arithmetic: append-only entries in, the effective reward of each turn and conversation out."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from core.domain.errors import InvalidValueError, NotFoundError

Value = float | bool | str


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


@dataclass(frozen=True, slots=True)
class Metric:
    """What an agent's outcomes are measured in."""

    name: str
    kind: MetricKind = MetricKind.FLOAT
    weight: float = 1.0
    combine: Combine = Combine.MEAN
    required: bool = True
    low: float | None = None
    high: float | None = None

    @property
    def counts(self) -> bool:
        """Whether its values enter the reward."""
        return self.weight != 0 and self.kind in (MetricKind.FLOAT, MetricKind.BOOLEAN)


REWARD = Metric("reward", required=False)
"""The metric that every agent has."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `turn` None means the whole conversation."""

    id: UUID
    turn: UUID | None
    metric: str
    source: str
    value: Value | None
    supersedes: UUID | None = None
    retracts: UUID | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """The effective reward of each turn that has one and of the conversation as a whole; which metrics have a value."""

    of_turn: Mapping[UUID, float] = field(default_factory=dict)
    of_conversation: float | None = None
    metrics: frozenset[str] = frozenset()

    @property
    def total(self) -> float | None:
        """The undiscounted weighted sum, None while nothing is known."""
        if not self.of_turn and self.of_conversation is None:
            return None
        return sum(self.of_turn.values()) + (self.of_conversation or 0.0)


def find_metric(metrics: Sequence[Metric], name: str) -> Metric:
    """The agent's metric of that name; every agent has `reward`."""
    declared = next((metric for metric in metrics if metric.name == name), None)
    if declared is None and name != REWARD.name:
        raise InvalidValueError(f"This agent has no metric {name!r}.", code="unknown_metric", param="metric")
    return declared or REWARD


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


def effective(entries: Iterable[Entry]) -> list[Entry]:
    """For each target, metric and source: the latest entry that is neither superseded nor retracted.

    Entries come, and go out, in the ledger's own order: clocks may run backwards, the ledger does not.
    """
    ordered = list(entries)
    gone = {entry.supersedes for entry in ordered} | {entry.retracts for entry in ordered}
    standing = [entry for entry in ordered if entry.id not in gone and entry.retracts is None]
    latest = {(entry.turn, entry.metric, entry.source): entry.id for entry in standing}
    return [entry for entry in standing if latest[entry.turn, entry.metric, entry.source] == entry.id]


def fold(entries: Iterable[Entry], metrics: Sequence[Metric]) -> Fold:
    """Σ over metrics of weight · combine over sources, for each target."""
    values: dict[tuple[UUID | None, Metric], list[float]] = defaultdict(list)
    for entry in effective(entries):
        try:
            metric = find_metric(metrics, entry.metric)
        except InvalidValueError:
            continue  # the agent dropped this metric; its entries stay in the ledger and count no more
        if metric.counts and not isinstance(entry.value, str) and entry.value is not None:
            values[entry.turn, metric].append(float(entry.value))
    of_turn: dict[UUID, float] = defaultdict(float)
    of_conversation: float | None = None
    for (turn, metric), numbers in values.items():
        paid = metric.weight * combine(numbers, metric.combine)
        if turn is None:
            of_conversation = (of_conversation or 0.0) + paid
        else:
            of_turn[turn] += paid
    return Fold(dict(of_turn), of_conversation, frozenset(metric.name for _, metric in values))


def combine(numbers: Sequence[float], how: Combine) -> float:
    """One value out of those of several sources, given oldest first."""
    match how:
        case Combine.MEAN:
            return sum(numbers) / len(numbers)
        case Combine.SUM:
            return sum(numbers)
        case Combine.LAST:
            return numbers[-1]
        case Combine.MAX:
            return max(numbers)


def is_known(folded: Fold, metrics: Sequence[Metric]) -> bool:
    """Whether every required metric has a value; where none is required, whether any has."""
    required = {metric.name for metric in metrics if metric.counts and metric.required}
    return required <= folded.metrics if required else bool(folded.metrics)


def rewards_of_turns(folded: Fold, turns: Sequence[UUID]) -> list[float]:
    """The reward paid after each turn, in order; the conversation's own is paid after the last."""
    if not turns:
        raise NotFoundError("A conversation without turns has no rewards.")
    rewards = [folded.of_turn.get(turn, 0.0) for turn in turns]
    rewards[-1] += folded.of_conversation or 0.0
    return rewards

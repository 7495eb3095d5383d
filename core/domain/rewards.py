"""The ledger's arithmetic: append-only entries in, the effective reward of each turn and conversation out."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from core.domain.errors import InvalidValueError, NotFoundError
from core.domain.metrics import Combine, Metric, Value, find_metric


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
    assumed: frozenset[str] = frozenset()
    """Those of the metrics whose value nobody gave: their window has passed, and they say what that means."""

    @property
    def total(self) -> float | None:
        """The undiscounted weighted sum, None while nothing is known."""
        if not self.of_turn and self.of_conversation is None:
            return None
        return sum(self.of_turn.values()) + (self.of_conversation or 0.0)


def effective(entries: Iterable[Entry]) -> list[Entry]:
    """For each target, metric and source: the latest entry that is neither superseded nor retracted.

    Entries come, and go out, in the ledger's own order: clocks may run backwards, the ledger does not.
    """
    ordered = list(entries)
    gone = {entry.supersedes for entry in ordered} | {entry.retracts for entry in ordered}
    standing = [entry for entry in ordered if entry.id not in gone and entry.retracts is None]
    latest = {(entry.turn, entry.metric, entry.source): entry.id for entry in standing}
    return [entry for entry in standing if latest[entry.turn, entry.metric, entry.source] == entry.id]


def fold(entries: Iterable[Entry], metrics: Sequence[Metric], *, waited: timedelta | None) -> Fold:
    """Σ over metrics of weight · combine over sources, for each target.

    `waited` is how long ago the conversation ended, None while it goes on: what is missing means something only once
    its metric's window has passed.
    """
    values: dict[tuple[UUID | None, Metric], list[float]] = defaultdict(list)
    for entry in effective(entries):
        try:
            metric = find_metric(metrics, entry.metric)
        except InvalidValueError:
            continue  # the agent dropped this metric; its entries stay in the ledger and count no more
        if metric.counts and not isinstance(entry.value, str) and entry.value is not None:
            values[entry.turn, metric].append(float(entry.value))
    given = {metric.name for _, metric in values}
    assumed = [metric for metric in metrics if metric.name not in given and _is_assumed(metric, waited)]
    values |= {(None, metric): [float(metric.missing or 0)] for metric in assumed}
    of_turn: dict[UUID, float] = defaultdict(float)
    of_conversation: float | None = None
    for (turn, metric), numbers in values.items():
        paid = metric.weight * combine(numbers, metric.combine)
        if turn is None:
            of_conversation = (of_conversation or 0.0) + paid
        else:
            of_turn[turn] += paid
    names = frozenset(metric.name for metric in assumed)
    return Fold(dict(of_turn), of_conversation, names | given, names)


def measured(entries: Iterable[Entry], metric: Metric, *, waited: timedelta | None) -> float | None:
    """What one metric says of a conversation, weighted or not: its own value, else the mean over turns that have one.

    None where nobody has said anything; a value that stands for silence counts once the window has passed.
    """
    values: dict[UUID | None, list[float]] = defaultdict(list)
    for entry in effective(entries):
        if entry.metric == metric.name and entry.value is not None and not isinstance(entry.value, str):
            values[entry.turn].append(float(entry.value))
    if None in values:
        return combine(values[None], metric.combine)
    if values:
        return sum(combine(numbers, metric.combine) for numbers in values.values()) / len(values)
    has_passed = waited is not None and waited >= timedelta(seconds=metric.window_seconds)
    return float(metric.missing) if metric.missing is not None and has_passed else None


def _is_assumed(metric: Metric, waited: timedelta | None) -> bool:
    has_passed = waited is not None and waited >= timedelta(seconds=metric.window_seconds)
    return metric.counts and metric.missing is not None and has_passed


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


def rewards_of_turns(folded: Fold, turns: Sequence[UUID]) -> list[float]:
    """The reward paid after each turn, in order; the conversation's own is paid after the last."""
    if not turns:
        raise NotFoundError("A conversation without turns has no rewards.")
    rewards = [folded.of_turn.get(turn, 0.0) for turn in turns]
    rewards[-1] += folded.of_conversation or 0.0
    return rewards

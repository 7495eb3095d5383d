"""What a version must show before everybody meets it: how it is let in, what may not get worse, and who has the say."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from core.domain.errors import InvalidValueError
from core.domain.metrics import REWARD, Combine, Direction, Level, Metric, MetricKind


class Promotion(StrEnum):
    """Who has the say."""

    MANUAL = "manual"
    ASK = "canary-then-ask"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Gates:
    """An agent's demands."""

    promotion: Promotion = Promotion.MANUAL
    """`manual`: trials begin and end by hand. `canary-then-ask`: they begin and end by themselves, and a person
    promotes. `auto`: the verdict is carried out."""
    ramp: tuple[float, ...] = (0.05, 0.25, 0.5)
    """Shares of new conversations that meet the version, one after the other; past the last it meets everybody."""
    stage_units: int = 50
    """Units of the canary that a stage has before the next one begins."""
    most_units: int = 5_000
    """Units of the canary after which a trial that has shown nothing ends."""
    error: float = 0.05
    """How likely a verdict on a version that is no better and no worse may be, over the whole trial."""
    margin: float = 0.05
    """How far each guard may fall, as a share of its range, and still count as not worse."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """The same for single guards, in the metric's own unit."""
    reward_range: tuple[float, float] | None = None
    """The least and the largest return of a conversation, where the metrics do not say; returns are cut to it."""
    holdout: float = 0.0
    """Share of new conversations that stay with the version before the stable one, to see drift."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Gates":
        """Raises InvalidValueError for demands that make no sense."""
        unknown = set(values) - {one.name for one in fields(cls)}
        if unknown:
            raise InvalidValueError(f"There is no gate {sorted(unknown)[0]!r}.", param="gates")
        given = dict(values)
        if "promotion" in given:
            given["promotion"] = Promotion(given["promotion"])
        for name in ("ramp", "reward_range"):
            if given.get(name) is not None:
                given[name] = tuple(float(value) for value in given[name])
        gates = cls(**given)
        gates.check()
        return gates

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        ranges = {name: None if values[name] is None else list(values[name]) for name in ("ramp", "reward_range")}
        return values | ranges | {"promotion": self.promotion.value, "margins": dict(self.margins)}

    def check(self) -> None:
        """Raise InvalidValueError where they contradict themselves."""
        if not self.ramp or any(not 0 < share < 1 for share in self.ramp):
            raise InvalidValueError("A ramp has shares above 0 and below 1.", param="gates.ramp")
        if list(self.ramp) != sorted(set(self.ramp)):
            raise InvalidValueError("A ramp only rises.", param="gates.ramp")
        low, high = self.reward_range or (0.0, 1.0)
        if low >= high:
            raise InvalidValueError("The reward's range must have its low below its high.", param="gates.reward_range")


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each unit that a trial looks at. `low` and `high` None: without known bounds."""

    name: str
    low: float | None
    high: float | None
    sign: int
    """1 where higher is better, else -1."""
    margin: float | None
    """How far it may fall; None for the reward, which is to rise."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Measure":
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def oriented(self, value: float) -> float:
        """Cut to the range, higher being better."""
        if self.low is not None and self.high is not None:
            value = min(max(value, self.low), self.high)
        return self.sign * value

    @property
    def width(self) -> float | None:
        return None if self.low is None or self.high is None else self.high - self.low


RETURN = "return"
"""What the reward of a whole conversation is called among the measures."""


def measures_of(gates: Gates, declared: Sequence[Metric]) -> list[Measure]:
    """The return first, then each guard.

    Raises InvalidValueError for a guard without a range, or a margin of what guards nothing: nobody can say what a
    small loss of it would be.
    """
    guards = [metric for metric in declared if metric.guard]
    unknown = set(gates.margins) - {metric.name for metric in guards}
    if unknown:
        raise InvalidValueError(f"{sorted(unknown)[0]!r} is no guard of this agent.", param="gates.margins")
    low, high = gates.reward_range or _range_of_return(declared) or (None, None)
    return [Measure(RETURN, low, high, 1, None), *(_guard(gates, metric) for metric in guards)]


def _guard(gates: Gates, metric: Metric) -> Measure:
    low, high = _range(metric)
    if low is None or high is None:
        raise InvalidValueError(
            f"Guard {metric.name!r} has no range: give it low and high, else nothing says what a small loss is.",
            param="metrics",
        )
    margin = gates.margins.get(metric.name, gates.margin * (high - low))
    if margin >= high - low:
        raise InvalidValueError(f"The margin of {metric.name!r} must lie below its range.", param="gates.margins")
    return Measure(metric.name, low, high, -1 if metric.direction is Direction.LOWER else 1, margin)


def _range(metric: Metric) -> tuple[float | None, float | None]:
    return (0.0, 1.0) if metric.kind is MetricKind.BOOLEAN else (metric.low, metric.high)


def _range_of_return(declared: Sequence[Metric]) -> tuple[float, float] | None:
    """Of the weighted sum, if each part of it is paid once a conversation and bounded."""
    counting = [metric for metric in declared if metric.counts] or [REWARD]
    if any(not _is_paid_once(metric) or not metric.is_bounded for metric in counting):
        return None
    ends = [sorted(metric.weight * (end or 0.0) for end in _range(metric)) for metric in counting]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def _is_paid_once(metric: Metric) -> bool:
    return metric.level is Level.CONVERSATION and metric.combine is not Combine.SUM


def horizon_seconds(declared: Sequence[Metric], idle_seconds: float) -> float:
    """How long after its beginning a unit enters: whatever may be said of it has been said by then.

    The same for both arms and known beforehand, so outcomes that come fast get no advance.
    """
    looked_at = [metric for metric in declared if metric.counts or metric.guard] or [REWARD]
    return idle_seconds + max(metric.window_seconds for metric in looked_at)

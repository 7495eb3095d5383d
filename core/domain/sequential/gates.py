"""What a canary must pass: a metric each, how its differences are tested in both directions, and what they showed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.domain.errors import InvalidValueError
from core.domain.sequential import asymptotic, betting
from core.domain.sequential.asymptotic import NormalMixture
from core.domain.sequential.betting import Bets
from core.domain.sequential.pairing import Pairing, difference


@dataclass(frozen=True, slots=True)
class Unit:
    """An end user or a conversation, entered once. `propensity` is the share of canaries when its arm was drawn."""

    is_canary: bool
    propensity: float
    values: Mapping[str, float | None]
    """By metric, higher being better. A metric without a value is not known of this unit, and it is left out there."""


class Kind(StrEnum):
    """What a canary must show: that it is better by more than the margin, or not worse by the margin or more."""

    SUPERIORITY = "superiority"
    NON_INFERIORITY = "non_inferiority"


@dataclass(frozen=True, slots=True)
class Gate:
    """One thing that is asked of a canary."""

    metric: str
    kind: Kind
    margin: float = 0.0
    range: float | None = None
    """The largest value less the least. None where there is none: then the test is asymptotic."""

    def __post_init__(self) -> None:
        if self.margin < 0 or (self.range is not None and self.range <= self.margin):
            raise InvalidValueError(f"The margin of {self.metric!r} must lie between 0 and its range.", param="margin")

    @property
    def passes_above(self) -> float:
        """The effect above which it is passed."""
        return self.margin if self.kind is Kind.SUPERIORITY else -self.margin

    @property
    def fails_below(self) -> float:
        """The effect below which the canary does harm."""
        return 0.0 if self.kind is Kind.SUPERIORITY else -self.margin


@dataclass(slots=True)
class Told:
    """The values of one arm."""

    count: int = 0
    missing: int = 0
    total: float = 0.0

    def enter(self, value: float | None) -> None:
        """One more unit."""
        if value is None:
            self.missing += 1
        else:
            self.count += 1
            self.total += value

    def as_json(self) -> dict[str, Any]:
        """For people and for the event."""
        return {"told": self.count, "missing": self.missing, "mean": self.total / self.count if self.count else None}


class GateTest:
    """One gate's evidence. `passed` and `failed` stay true once they were: each may be looked at after every unit."""

    def __init__(self, gate: Gate, *, pass_error: float, fail_error: float) -> None:
        self.gate = gate
        self.passed = self.failed = False
        self._errors = pass_error, fail_error
        self._pairing = Pairing()
        self._arms = {True: Told(), False: Told()}
        self._scale = 1.0 if gate.range is None else gate.range
        self._differences: list[float] = []
        self._for = self._evidence(gate.passes_above / self._scale, pass_error)
        self._against = self._evidence(-gate.fails_below / self._scale, fail_error)

    def enter(self, unit: Unit) -> None:
        """One more unit, in the order in which they began."""
        value = unit.values.get(self.gate.metric)
        self._arms[unit.is_canary].enter(value)
        if value is None:
            return
        compared = self._pairing.enter(is_canary=unit.is_canary, propensity=unit.propensity, value=value)
        if compared is not None:
            self._compare(difference(*compared) / self._scale)

    def _compare(self, scaled: float) -> None:
        if self.gate.range is not None:
            scaled = min(1.0, max(-1.0, scaled))  # beyond it lies only rounding, or what a range was narrowed around
        self._differences.append(scaled)
        self._for.enter(scaled)
        self._against.enter(-scaled)
        pass_error, fail_error = self._errors
        self.passed = self.passed or self._for.log_evidence >= -math.log(pass_error)
        self.failed = self.failed or self._against.log_evidence >= -math.log(fail_error)

    def _evidence(self, bound: float, error: float) -> Bets | NormalMixture:
        return NormalMixture(bound, error) if self.gate.range is None else Bets(bound)

    def as_json(self) -> dict[str, Any]:
        """Everything that the verdict rests on. `interval` holds the effect with 1 - 2 · pass error, at any time."""
        pass_error, fail_error = self._errors
        seek = asymptotic.interval if self.gate.range is None else betting.interval
        ends = seek(self._differences, 2 * pass_error)
        count = len(self._differences)
        return {
            "metric": self.gate.metric,
            "kind": self.gate.kind.value,
            "margin": self.gate.margin,
            "range": self.gate.range,
            "test": "asymptotic" if self.gate.range is None else "betting",
            "canary": self._arms[True].as_json(),
            "stable": self._arms[False].as_json(),
            "differences": count,
            "difference": self._scale * sum(self._differences) / count if count else None,
            "interval": None if ends is None else [self._scale * end for end in ends],
            "confidence": 1 - 2 * pass_error,
            "for": _side(self._for.log_evidence, pass_error, self.passed),
            "against": _side(self._against.log_evidence, fail_error, self.failed),
        }


def _side(log_evidence: float, error: float, crossed: bool) -> dict[str, Any]:
    return {"log_e_value": log_evidence, "log_threshold": -math.log(error), "crossed": crossed}

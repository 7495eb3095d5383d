"""The core's trial with numpy, for thousands of canaries: the same decision at the same unit."""

from dataclasses import dataclass
from functools import cache

import numpy
from numpy.typing import NDArray

from bench.sequential.canaries import MARGIN, Composition, Floats, Scenario
from core.domain.sequential.asymptotic import FIRST, boundary, tuned_rho
from core.domain.sequential.betting import stakes
from core.domain.sequential.verdict import Decision, Gate, Kind

ERROR = 0.05


def gates_of(scenario: Scenario) -> tuple[Gate, Gate]:
    """A reward that must be better and a guard that must not be worse by five points."""
    reach = 1.0 if scenario.is_bounded else None
    return Gate("reward", Kind.SUPERIORITY, 0.0, reach), Gate("guard", Kind.NON_INFERIORITY, MARGIN, reach)


@dataclass(frozen=True, slots=True)
class Decided:
    """What the trial said, with which unit (its place), and with which the reward's gate alone was passed."""

    decision: Decision
    unit: int | None
    reward_passed_at: int | None
    peeked: bool
    """Whether a z-test of the same error, looked at after every difference, would have said anything."""


def decide(scenario: Scenario, composition: Composition, values: tuple[Floats, Floats]) -> Decided:
    """As if looked at after every unit."""
    passed, failed = [], []
    for gate, told in zip(gates_of(scenario), values, strict=True):
        differences = composition.differences(told)
        cross = _bets_cross if scenario.is_bounded else _mixture_crosses
        passed.append(_place(composition, cross(differences, gate.passes_above, ERROR / 2)))
        failed.append(_place(composition, cross(-differences, -gate.fails_below, ERROR / 4)))
    never = len(composition.is_canary)
    back = min(never if place is None else place for place in failed)
    promoted = max(never if place is None else place for place in passed)
    peeked = _peeking_crosses(composition.differences(values[0]))
    if back == promoted == never:
        return Decided(Decision.INCONCLUSIVE, None, passed[0], peeked)
    if back <= promoted:
        return Decided(Decision.ROLL_BACK, back, passed[0], peeked)
    return Decided(Decision.PROMOTE, promoted, passed[0], peeked)


def _place(composition: Composition, crossed: NDArray[numpy.bool_]) -> int | None:
    return int(composition.complete_at[crossed.argmax()]) if crossed.any() else None


def _bets_cross(differences: Floats, bound: float, error: float) -> NDArray[numpy.bool_]:
    logs = numpy.multiply.outer(stakes(bound), differences - bound)
    numpy.cumsum(numpy.log1p(logs, out=logs), axis=1, out=logs)
    largest = logs.max(axis=0)
    wealth = largest + numpy.log(numpy.exp(logs - largest).mean(axis=0))
    return numpy.asarray(wealth >= -numpy.log(error))


def _mixture_crosses(differences: Floats, bound: float, error: float) -> NDArray[numpy.bool_]:
    counts = numpy.arange(1, len(differences) + 1)
    means = differences.cumsum() / counts
    deviations = numpy.sqrt(numpy.maximum((differences**2).cumsum() / counts - means**2, 1e-300))
    bars = numpy.array([_boundary(int(count), error) for count in counts])
    return numpy.asarray((counts >= FIRST) & (counts * (means - bound) / deviations >= bars))


@cache
def _boundary(count: int, error: float) -> float:
    return boundary(count, tuned_rho(FIRST, error), error)


def _peeking_crosses(differences: Floats) -> bool:
    """Two-sided at 5 %, from the fiftieth difference on."""
    counts = numpy.arange(1, len(differences) + 1)
    means = differences.cumsum() / counts
    deviations = numpy.sqrt(numpy.maximum((differences**2).cumsum() / counts - means**2, 1e-300))
    return bool((numpy.abs(means) * numpy.sqrt(counts) / deviations >= 1.959964)[FIRST - 1 :].any())

"""What is wrong with a canary though no value says so: its outcomes stay away more often than those beside it."""

from collections.abc import Iterable
from typing import Any

from core.domain.sequential.gates import Gate, GateTest, Kind, Unit


class SilenceAlarm:
    """Whether fewer canary units than stable ones get a value of this metric, by more than the margin.

    Who is treated badly may leave without a word, and a mean over those who spoke cannot tell. The share told is tested
    as a guard is, by bets of 1 for told and 0 for missing, so the chance that it is ever raised in vain is at most
    `error`, which is beside the trial's own budget. Units must be entered once their windows have passed, told or not.
    """

    def __init__(self, metric: str, *, error: float, margin: float) -> None:
        self._metric = metric
        self._test = GateTest(Gate(metric, Kind.NON_INFERIORITY, margin, 1.0), pass_error=error, fail_error=error)

    def enter(self, unit: Unit) -> None:
        """One more unit, in the order in which they began."""
        is_told = unit.values.get(self._metric) is not None
        self._test.enter(Unit(unit.is_canary, unit.propensity, {self._metric: float(is_told)}))

    @property
    def is_raised(self) -> bool:
        """True for good once it was: then the canary is to be rolled back."""
        return self._test.failed

    def as_json(self) -> dict[str, Any]:
        """The evidence; the mean of each arm is the share that was told."""
        return self._test.as_json()


def listen(units: Iterable[Unit], metric: str, *, error: float, margin: float) -> SilenceAlarm:
    """The alarm after all these units."""
    alarm = SilenceAlarm(metric, error=error, margin=margin)
    for unit in units:
        alarm.enter(unit)
    return alarm

"""The sequential test that decides a canary: every unit may be looked at, and one error budget holds for all looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.domain.sequential.gates import Gate, GateTest, Kind, Unit

__all__ = ["Decision", "Gate", "Kind", "Trial", "Unit", "Verdict", "judge"]


class Decision(StrEnum):
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    HOLD = "hold"
    """Neither is proved yet."""
    INCONCLUSIVE = "inconclusive"
    """Neither was proved with as many canary units as there may be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of the canary, and why."""

    decision: Decision
    gate: str | None
    """The metric that a rollback is for."""
    units: int
    """Those that were entered when it fell; later ones change nothing."""
    canaries: int
    """Canary units among them."""
    evidence: list[dict[str, Any]]
    """JSON, gate by gate."""


class Trial:
    """The test under way.

    Half of the error budget is for promotion, half for rollback. A canary is promoted once every gate has been passed,
    each at α/2: where one must not be passed, all are not unless that one is, so nothing is divided among them (an
    intersection-union test, Berger 1982). It is rolled back at the first gate that it has failed, each at α/2 over
    their number, since any would do. The first of these to happen stands.
    """

    def __init__(self, gates: Sequence[Gate], *, error: float, most_units: int) -> None:
        shares = {"pass_error": error / 2, "fail_error": error / 2 / max(1, len(gates))}
        self._tests = [GateTest(gate, **shares) for gate in gates]
        self._most_units = most_units
        self._units = self._canaries = 0
        self._failed: str | None = None
        self.decision = Decision.HOLD

    def enter(self, unit: Unit) -> None:
        """One more unit, in the order in which they began; ignored once a decision has fallen."""
        if self.decision is not Decision.HOLD:
            return
        self._units += 1
        self._canaries += unit.is_canary
        for test in self._tests:
            test.enter(unit)
        self._failed = next((test.gate.metric for test in self._tests if test.failed), None)
        if self._failed is not None:
            self.decision = Decision.ROLL_BACK
        elif self._tests and all(test.passed for test in self._tests):
            self.decision = Decision.PROMOTE
        elif self._canaries >= self._most_units:
            self.decision = Decision.INCONCLUSIVE

    @property
    def verdict(self) -> Verdict:
        """As of the units entered; computing its intervals takes longer than entering a unit."""
        evidence = [test.as_json() for test in self._tests]
        return Verdict(self.decision, self._failed, self._units, self._canaries, evidence)


def judge(units: Sequence[Unit], gates: Sequence[Gate], *, error: float, most_units: int) -> Verdict:
    """The verdict on all units so far, in the order in which they began: the same as if each had been looked at.

    The same list with more units at its end never takes a verdict back.
    """
    trial = Trial(gates, error=error, most_units=most_units)
    for unit in units:
        trial.enter(unit)
    return trial.verdict

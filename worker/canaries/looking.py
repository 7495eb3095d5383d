"""What a trial shows by now: the sequential test's verdict, the alarms, and whether its next stage may begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.domain import silence
from core.domain.alarms import hear_distance, listen
from core.domain.episodes import Arm
from core.domain.gates import RETURN, Gates, Measure
from core.domain.sequential.verdict import Decision, Gate, Kind, Unit, Verdict, judge
from core.storage.models import Canary, CanaryUnit

SILENCE_SHARE = 0.1
"""Of the error budget; the rest is the sequential test's."""
SILENCE_MARGIN = 0.05
"""How much less often the canary's conversations may get an outcome before that alone takes it back."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a trial. `next_weight` None: it stays as it is."""

    weight: float
    """The share when it was looked at."""
    decision: Decision
    because_of: str | None
    """The gate that a rollback is for, or `silence`."""
    verdict: Verdict
    alarms: list[dict[str, Any]]
    silence: dict[str, Any]
    next_weight: float | None

    @property
    def ringing(self) -> list[str]:
        return [str(alarm["alarm"]) for alarm in self.alarms if alarm["rings"]]

    @property
    def evidence(self) -> dict[str, Any]:
        """JSON, for the canary's row and for the record of whatever follows."""
        verdict = self.verdict
        return {
            "decision": self.decision.value,
            "because_of": self.because_of,
            "units": verdict.units,
            "canary_units": verdict.canaries,
            "gates": verdict.evidence,
            "alarms": self.alarms,
            "silence": self.silence,
        }


def look(canary: Canary, rows: Sequence[CanaryUnit], *, kl: float | None) -> Look:
    """At everything that has entered. More of it never takes a verdict back.

    `kl` is how far the version has moved from where its run began, None where no run has said so.
    """
    demands = Gates.from_json(canary.gates)
    measures = [Measure.from_json(values) for values in canary.measures]
    units = [Unit(row.arm is Arm.CANARY, row.weight, row.outcomes) for row in rows]
    gates = [gate_of(measure) for measure in measures]
    verdict = judge(units, gates, error=(1 - SILENCE_SHARE) * demands.error, most_units=demands.most_units)
    alarms = [*listen(units, error=demands.error), hear_distance(kl)]
    told = silence.listen(units, RETURN, error=SILENCE_SHARE * demands.error, margin=SILENCE_MARGIN)
    decision, because_of = verdict.decision, verdict.gate
    if told.is_raised:  # a mean over those who spoke cannot tell why the others did not
        decision, because_of = Decision.ROLL_BACK, "silence"
    in_stage = sum(row.arm is Arm.CANARY and row.weight == canary.weight for row in rows)
    later = [share for share in demands.ramp if share > canary.weight]
    may_rise = (
        decision is Decision.HOLD and in_stage >= demands.stage_units and not any(alarm["rings"] for alarm in alarms)
    )
    next_weight = later[0] if may_rise and later else None
    return Look(canary.weight, decision, because_of, verdict, alarms, told.as_json(), next_weight)


def gate_of(measure: Measure) -> Gate:
    """The return must rise, a guard may not fall by its margin."""
    if measure.margin is None:
        return Gate(measure.name, Kind.SUPERIORITY, range=measure.width)
    return Gate(measure.name, Kind.NON_INFERIORITY, margin=measure.margin, range=measure.width)

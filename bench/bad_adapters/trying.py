"""One canary in a stream of customers whose outcomes come a hundred conversations later, until it is decided."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bad_adapters.agents import Outcome, Version, in_service
from core.domain.sequential.verdict import Decision, Gate, Kind, Trial, Unit
from core.domain.silence import SilenceAlarm
from worker.canaries.looking import SILENCE_MARGIN, SILENCE_SHARE

CONVERSATIONS, DELAY, STAGE = 5_000, 100, 50
"""Customers in all; how many later an outcome is known, or known to be missing; canaries known of a stage."""
RAMPS: dict[str, Sequence[float]] = {"1 → 5 → 25 → 50 %": (0.01, 0.05, 0.25, 0.5), "5 → 25 → 50 %": (0.05, 0.25, 0.5)}
ERROR, MARGIN = 0.05, 0.05
GATES = (Gate("closed", Kind.SUPERIORITY, 0.0, 1.0), Gate("worth", Kind.NON_INFERIORITY, MARGIN, 1.0))


@dataclass(frozen=True, slots=True)
class Tried:
    """How it ended."""

    decision: str
    by: str | None
    """The gate or the alarm that it was rolled back for."""
    exposed: int
    """Conversations that the canary served."""
    conversations: int
    """Customers until the verdict, or all."""


def try_out(version: Version, ramp: Sequence[float], seed: int) -> Tried:
    """The seed's customers; looked at with each outcome."""
    chance = random.Random(seed)
    trial = Trial(GATES, error=(1 - SILENCE_SHARE) * ERROR, most_units=CONVERSATIONS)
    alarm = SilenceAlarm("worth", error=SILENCE_SHARE * ERROR, margin=SILENCE_MARGIN)
    waiting: deque[Unit] = deque()
    exposed = known = 0
    for place in range(CONVERSATIONS):
        weight = ramp[min(known // STAGE, len(ramp) - 1)]
        is_canary, customer = chance.random() < weight, chance.randrange(2**40)
        exposed += is_canary
        waiting.append(_unit(is_canary, weight, (version if is_canary else in_service)(customer)))
        if len(waiting) > DELAY:
            unit = waiting.popleft()
            known += unit.is_canary
            trial.enter(unit)
            alarm.enter(unit)
        if alarm.is_raised:
            return Tried(Decision.ROLL_BACK, "silence", exposed, place + 1)
        if trial.decision is not Decision.HOLD:
            return Tried(trial.decision, trial.verdict.gate, exposed, place + 1)
    return Tried(trial.decision, None, exposed, CONVERSATIONS)


def _unit(is_canary: bool, weight: float, outcome: Outcome) -> Unit:
    values = {"closed": float(outcome.is_closed), "worth": outcome.worth} if outcome.is_told else {}
    return Unit(is_canary, weight, values)

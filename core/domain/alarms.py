"""What a version does beside earning: how it speaks, beside the stable one. A drift that is proved holds its ramp.

A policy that has learned to please the measure and not the user shows here first: longer replies, questions that put
off the end, refusals, the same words again. That people say nothing any more is heard in silence.py.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.domain.conversations import Message
from core.domain.refusals import is_refusal
from core.domain.sequential.gates import Gate, GateTest, Kind, Unit

PREFIX = "alarm:"
MOST_KL = 0.2
"""Twice what a run may move by itself: only an agent whose budget was lifted comes here."""
REPEATED_WORDS = 4
"""How many words in a row count as said again."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One habit. It rings once it is proved that the canary has more of it (`rises`), or less, by over `tolerance`."""

    name: str
    habit: str
    rises: bool
    tolerance: float
    range: float | None = 1.0

    @property
    def key(self) -> str:
        """What it is called among a unit's outcomes."""
        return PREFIX + self.habit


ALARMS = (
    Alarm("longer replies", "length", True, math.log(1.5), None),
    Alarm("shorter replies", "length", False, math.log(1.5), None),
    Alarm("more questions", "questions", True, 0.15),
    Alarm("more refusals", "refusals", True, 0.05),
    Alarm("more repetition", "repetition", True, 0.1),
    Alarm("more broken tool calls", "broken_tool_calls", True, 0.02),
)
"""Lengths are compared by their logarithm: half as long again, or two thirds. The others are shares."""


def habits_of(replies: Sequence[Message]) -> dict[str, float]:
    """One conversation's habits, each a mean over its replies; none where nothing was replied."""
    each = [_habits(reply) for reply in replies]
    return {PREFIX + name: sum(one[name] for one in each) / len(each) for name in each[0]} if each else {}


def _habits(reply: Message) -> dict[str, float]:
    text = text_of(reply)
    return {
        "length": math.log1p(len(text)),
        "questions": float("?" in text or "？" in text),
        "refusals": float(is_refusal(text)),
        "repetition": repetition(text),
        "broken_tool_calls": float(any(not _is_whole(call) for call in reply.get("tool_calls") or [])),
    }


def text_of(message: Message) -> str:
    """What it says in words."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def repetition(text: str) -> float:
    """1 - distinct / all runs of four words: 0 where nothing is said twice."""
    words = text.lower().split()
    runs = [tuple(words[i : i + REPEATED_WORDS]) for i in range(len(words) - REPEATED_WORDS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _is_whole(call: Mapping[str, object]) -> bool:
    function = call.get("function")
    try:
        return isinstance(function, dict) and isinstance(json.loads(function.get("arguments") or "{}"), dict)
    except (TypeError, ValueError):
        return False


def listen(units: Sequence[Unit], *, error: float) -> list[dict[str, object]]:
    """Each alarm with what it heard: whether it rings at this error over all of them and all looks, and the figures.

    An alarm is a gate that is only ever failed, of the habit turned so that more of it is worse.
    """
    heard: list[dict[str, object]] = []
    for alarm in ALARMS:
        gate = Gate(alarm.key, Kind.NON_INFERIORITY, margin=alarm.tolerance, range=alarm.range)
        test = GateTest(gate, pass_error=error / 2, fail_error=error / len(ALARMS))
        for unit in units:
            value = unit.values.get(alarm.key)
            turned = None if value is None else (-value if alarm.rises else value)
            test.enter(Unit(unit.is_canary, unit.propensity, {alarm.key: turned}))
        heard.append({"alarm": alarm.name, "rings": test.failed, **_figures(test, alarm)})
    return heard


def hear_distance(kl: float | None) -> dict[str, object]:
    """The alarm for a version that has moved far, in nats a token, from the one that it began with; None is not known.

    It needs no conversations: the learner has measured it.
    """
    rings = kl is not None and kl > MOST_KL
    return {
        "alarm": "far from where it began",
        "rings": rings,
        "habit": "kl",
        "tolerance": MOST_KL,
        "differences": None,
        "canary": kl,
        "stable": None,
    }


def _figures(test: GateTest, alarm: Alarm) -> dict[str, object]:
    """As the habit is, not turned; only how often it was told and its means."""
    found, sign = test.as_json(), -1 if alarm.rises else 1
    means = {arm: found[arm]["mean"] for arm in ("canary", "stable")}
    return {
        "habit": alarm.habit,
        "tolerance": alarm.tolerance,
        "differences": found["differences"],
        **{arm: None if mean is None else sign * mean for arm, mean in means.items()},
    }

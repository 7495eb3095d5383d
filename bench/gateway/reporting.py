"""What the rounds say together: medians over rounds, differences and ratios each taken within a round."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
Round = Mapping[str, Mapping[str, Figures]]
"""By case, by target."""
SHARES = ("p50", "p95", "p99")
ONE, SIXTEEN, SIXTY_FOUR = "one at a time", "16 in flight", "64 in flight"
STREAMS = ("stream, one at a time", "stream, 16 in flight")


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """By target: what it adds to `direct`, how many requests it serves, and those over each other target's."""
    found: dict[str, Any] = {}
    for name in rounds[0][ONE]:
        found[name] = {
            "added": {turns: added(rounds, name, turns) for turns in ("all_turns", "first_turn", "later_turns")},
            "taken": {share: median(rounds, ONE, name, "all_turns", share) for share in SHARES},
            "per_second": {case: median(rounds, case, name, "per_second") for case in (SIXTEEN, SIXTY_FOUR)},
            "p99": {case: median(rounds, case, name, "all_turns", "p99") for case in (SIXTEEN, SIXTY_FOUR)},
            "first_event_added": {case: difference(rounds, case, name, "first_event", "p50") for case in STREAMS},
            "chunk_added": {case: difference(rounds, case, name, "chunk_cost", "p50") for case in STREAMS},
            "cpu_per_chunk": statistics.median(cpu_per_chunk(one[STREAMS[1]][name]) for one in rounds),
            "cpu_per_request": {case: cpu_per_request(rounds, case, name) for case in (ONE, SIXTEEN, SIXTY_FOUR)},
            "cpu": {case: cpu(rounds, case, name) for case in rounds[0]},
            "rate_over": {
                case: {other: ratio(rounds, case, name, other) for other in rounds[0][ONE] if other != name}
                for case in (SIXTEEN, SIXTY_FOUR)
            },
        }
    return found


def added(rounds: Sequence[Round], name: str, turns: str) -> dict[str, float]:
    return {share: difference(rounds, ONE, name, turns, share) for share in SHARES}


def median(rounds: Sequence[Round], case: str, name: str, *path: str) -> float:
    return statistics.median(_at(one[case][name], path) for one in rounds)


def difference(rounds: Sequence[Round], case: str, name: str, *path: str) -> float:
    """To `direct`, in the same round."""
    return statistics.median(_at(one[case][name], path) - _at(one[case]["direct"], path) for one in rounds)


def ratio(rounds: Sequence[Round], case: str, name: str, other: str) -> float:
    return statistics.median(
        float(one[case][name]["per_second"]) / float(one[case][other]["per_second"]) for one in rounds
    )


def cpu_per_chunk(figures: Figures) -> float:
    """Milliseconds of a gateway's processor time by event of a stream, the request's own cost with them."""
    return float(1000 * figures["server_cpu"] * figures["seconds"] / figures["events"])


def cpu_per_request(rounds: Sequence[Round], case: str, name: str) -> dict[str, float]:
    """Milliseconds of processor time, what runs now and then included: a busy machine changes a rate far more."""

    def of(figures: Figures, who: str) -> float:
        return float(1000 * figures[f"{who}_cpu"] / figures["per_second"])

    return {who: statistics.median(of(one[case][name], who) for one in rounds) for who in ("server", "postgres")}


def cpu(rounds: Sequence[Round], case: str, name: str) -> dict[str, float]:
    who = ("client", "server", "engine", "postgres")
    return {one: median(rounds, case, name, f"{one}_cpu") for one in who}


def _at(figures: Figures, path: Sequence[str]) -> float:
    value: Any = figures
    for key in path:
        value = value[key]
    return float(value)

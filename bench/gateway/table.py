"""The figures as people read them, with the goals beside them."""

from collections.abc import Mapping
from typing import Any

from bench.gateway.reporting import SIXTEEN, SIXTY_FOUR, STREAMS

Found = Mapping[str, Any]


def table(found: Found, durability: Mapping[str, Mapping[str, float]]) -> str:
    lines = ["Added to direct, one at a time, milliseconds", f"{'':<22}{'p50':>8}{'p95':>8}{'p99':>8}"]
    for name, of in found.items():
        for turns in ("all_turns", "first_turn", "later_turns"):
            named = f"{name}, {turns.replace('_', ' ')}"
            lines.append(f"{named:<28}" + "".join(f"{value:>8.2f}" for value in of["added"][turns].values()))
    for what, of in durability.items():
        lines.append(f"({what}: p50 {of['p50']:.2f}, p99 {of['p99']:.2f})")
    lines += ["", "Requests a second, p99 in milliseconds; cores used by client, gateway, engine, Postgres"]
    for case in (SIXTEEN, SIXTY_FOUR):
        for name, of in found.items():
            cores = ", ".join(f"{share:.2f}" for share in of["cpu"][case].values())
            lines.append(f"{case:<14}{name:<20}{of['per_second'][case]:>9.0f}{of['p99'][case]:>9.1f}   {cores}")
    lines += ["", "Streams: added to the first event and to each later one at p50, milliseconds; CPU time an event"]
    for case in STREAMS:
        for name, of in found.items():
            spent = f"{of['cpu_per_chunk']:>9.3f}" if case == STREAMS[1] else ""
            lines.append(
                f"{case:<24}{name:<20}{of['first_event_added'][case]:>9.2f}{of['chunk_added'][case]:>9.3f}{spent}"
            )
    return "\n".join([*lines, "", *goals(found)])


def goals(found: Found) -> list[str]:
    """Each goal that these targets allow to be judged, with what was measured."""
    ours = found.get("nock")
    if ours is None:
        return []
    lines = [
        _goal("added p50 at most 1.5 ms", ours["added"]["later_turns"]["p50"], most=1.5),
        _goal("added p99 at most 5 ms", ours["added"]["later_turns"]["p99"], most=5.0),
    ]
    bounds = {"tensorzero": 0.5, "tensorzero, postgres": 1.0, "litellm": 10.0}
    for case in (SIXTEEN, SIXTY_FOUR):
        for other, least in bounds.items():
            if other in found:
                lines.append(
                    _goal(f"at least {least} of {other}'s, {case}", ours["rate_over"][case][other], least=least)
                )
    return lines


def _goal(text: str, value: float, *, most: float | None = None, least: float | None = None) -> str:
    met = (most is None or value <= most) and (least is None or value >= least)
    return f"{'met   ' if met else 'MISSED'} {text}: {value:.2f}"

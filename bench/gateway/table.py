"""The figures as people read them, with the goals beside them."""

from collections.abc import Mapping
from typing import Any

from bench.gateway.killing import Toll
from bench.gateway.reporting import SHARES, SIXTEEN, SIXTY_FOUR, STREAMS

Found = Mapping[str, Any]


def table(found: Found, durability: Mapping[str, Mapping[str, float]], tolls: Mapping[str, Toll]) -> str:
    lines = ["Added to direct, one at a time, milliseconds", f"{'':<40}{'p50':>8}{'p95':>8}{'p99':>8}"]
    for name, of in found.items():
        if name == "direct":
            lines.append(_row("direct itself", of["taken"]))
            continue
        for turns in ("all_turns", "first_turn", "later_turns"):
            lines.append(_row(f"{name}, {turns.replace('_', ' ')}", of["added"][turns]))
    lines += [_row(what, of) for what, of in durability.items()]
    lines += ["", "Requests a second, p99 ms, CPU ms a request of gateway and Postgres; cores used"]
    lines.append(" " * 80 + "   by client, gateway, engine, Postgres")
    for case in (SIXTEEN, SIXTY_FOUR):
        for name, of in found.items():
            cores = ", ".join(f"{share:.2f}" for share in of["cpu"][case].values())
            spent = "".join(f"{each:>10.3f}" for each in of["cpu_per_request"][case].values())
            figures = f"{of['per_second'][case]:>9.0f}{of['p99'][case]:>9.1f}{spent}"
            lines.append(f"{case:<14}{name:<28}{figures}   {cores}")
    lines += ["", "Streams: added to the first event and to each later one at p50, milliseconds; CPU time an event"]
    for case in STREAMS:
        for name, of in found.items():
            spent = f"{of['cpu_per_chunk']:>9.3f}" if case == STREAMS[1] else ""
            lines.append(
                f"{case:<24}{name:<28}{of['first_event_added'][case]:>9.2f}{of['chunk_added'][case]:>9.3f}{spent}"
            )
    lines += ["", "SIGKILL under load: replies received whole, and how many of them the database holds"]
    lines += [f"{name:<28}{toll.received:>8}{toll.found:>8}, lost {toll.lost}" for name, toll in tolls.items()]
    return "\n".join([*lines, "", *goals(found, tolls)])


def goals(found: Found, tolls: Mapping[str, Toll]) -> list[str]:
    """Each goal that these targets allow to be judged, with what was measured."""
    ours = found.get("nock")
    if ours is None:
        return []
    lines = [
        _goal("added p50 at most 1.5 ms", ours["added"]["later_turns"]["p50"], most=1.5),
        _goal("added p99 at most 5 ms", ours["added"]["later_turns"]["p99"], most=5.0),
    ]
    if "nock" in tolls:
        lines.append(_goal("lost replies at most 0", tolls["nock"].lost, most=0))
    bounds = {"tensorzero": 0.5, "tensorzero-postgres": 1.0, "tensorzero-postgres-waits": 1.0, "litellm": 10.0}
    for case in (SIXTEEN, SIXTY_FOUR):
        for other, least in bounds.items():
            if other in found:
                lines.append(
                    _goal(f"at least {least} of {other}'s, {case}", ours["rate_over"][case][other], least=least)
                )
    return lines


def _row(name: str, of: Mapping[str, float]) -> str:
    return f"{name:<40}" + "".join(f"{of[share]:>8.2f}" for share in SHARES)


def _goal(text: str, value: float, *, most: float | None = None, least: float | None = None) -> str:
    met = (most is None or value <= most) and (least is None or value >= least)
    return f"{'met   ' if met else 'MISSED'} {text}: {value:.2f}"

"""Figures and the table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.swap.people import PAUSE_SECONDS, WATCH_SECONDS, Met
from bench.swap.ways import Seen, Span


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def figures(seen: Seen) -> dict[str, Any]:
    """What one way cost those who spoke meanwhile; times to the first token are of those requests that got one."""
    found: dict[str, Any] = {"swaps": len(seen.taken), "taken": spread(seen.taken)}
    if seen.follow:
        found |= {"followed": spread(seen.follow), "followed_begun": spread(seen.begun)}
        found |= {"last_on_the_one_before": spread(seen.stale), "late": seen.late}
    for span, name in ((seen.quiet, "quiet"), (seen.busy, "busy")):
        within = [one for one in seen.met if is_within(one, span)]
        good = [one for one in within if not one.failed]
        failed = [one for one in within if one.failed]
        found[name] = {
            "requests": len(within),
            "failed": len(failed),
            "how": sorted({one.failed for one in failed}),
            "first_token": spread([one.first - one.began for one in good]),
        }
    for share in ("p50", "p99"):
        quiet, busy = found["quiet"]["first_token"], found["busy"]["first_token"]
        found[f"first_token_{share}_ratio"] = busy[share] / quiet[share] if quiet and busy else None
    found["longest_silence"] = max(silences(seen), default=0.0)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "most": max(values), "count": len(values)}


def is_within(met: Met, spans: Sequence[Span]) -> bool:
    return any(start <= met.began < stop for start, stop in spans)


def silences(seen: Seen) -> list[float]:
    """By swap, the seconds between the last request before a failure that was answered and the next one."""
    answered = sorted(one.first for one in seen.met if not one.failed)
    failed = [one for one in seen.met if one.failed]
    found = []
    for one in failed:
        before = [moment for moment in answered if moment <= one.began]
        after = [moment for moment in answered if moment > one.ended]
        if before and after:
            found.append(after[0] - before[-1])
    return found


def write_table(result: dict[str, Any], file: Path) -> str:
    """Markdown."""
    lines = [
        f"Eight clients stream, with up to {PAUSE_SECONDS:.0f} s between a reply and what they say next, and somebody",
        f"begins a conversation every {WATCH_SECONDS} s; spans with a swap and quiet ones take turns. Who is refused",
        f"asks again after 50 ms, and each refusal counts. {result['cores']} cores that others use too, load",
        f"{result['load_average_before'][0]:.1f} before and {result['load_average_after'][0]:.1f} after.",
        "",
        "| way | swaps | taken p50 (s) | met by conversations begun after, p50 (s) | p99 (s) "
        "| with their reply, p99 (s) | requests while swapping | failed "
        "| first token p50, p99 quiet (ms) | while swapping (ms) | ratio p50 | ratio p99 | nobody answered for (s) |",
        "| --- " * 13 + "|",
    ]
    for way, row in result["ways"].items():
        met, replied = row.get("followed_begun"), row.get("followed")
        cells = [
            way,
            f"{row['swaps']}",
            f"{row['taken']['p50']:.3f}",
            f"{met['p50']:.3f}" if met else "-",
            f"{met['p99']:.3f}" if met else "-",
            f"{replied['p99']:.3f}" if replied else "-",
            f"{row['busy']['requests']:,}",
            f"{row['busy']['failed']:,} {', '.join(row['busy']['how'])}".strip(),
            _both(row["quiet"]["first_token"]),
            _both(row["busy"]["first_token"]),
            _ratio(row["first_token_p50_ratio"]),
            _ratio(row["first_token_p99_ratio"]),
            f"{row['longest_silence']:.2f}" if row["busy"]["failed"] else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    file.write_text(text)
    return text


def _both(of: dict[str, float]) -> str:
    return f"{1000 * of['p50']:.0f}, {1000 * of['p99']:.0f}" if of else "-"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

"""Curves side by side: how many conversations each method needs to come how far, as a table and as a picture."""

import json
import math
import random
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from bench.curve import RESULTS

matplotlib.use("Agg")
from matplotlib import pyplot  # the backend must be chosen first

Curves = dict[str, list[dict[str, Any]]]
"""The records of each method, seed by seed."""
RESAMPLES = 10_000
SHARES = (0.25, 0.5, 0.75)
"""Of the way from the start's return to the optimum."""


def read_curves(task: str, methods: Iterable[str], *, until: int | None = None) -> Curves:
    """What there is, finished or not; of each curve what was measured by `until` conversations."""
    found: Curves = {}
    for method in sorted(methods):
        files = sorted((RESULTS / task).glob(f"{method}-[0-9]*.json"))
        records = [_cut(json.loads(file.read_text()), until) for file in files]
        if records := [record for record in records if record["points"]]:
            found[method] = records
    return found


def _cut(record: dict[str, Any], until: int | None) -> dict[str, Any]:
    points = [point for point in record["points"] if until is None or point["conversations"] <= until]
    return {**record, "points": points}


def start_return(curves: Curves) -> float:
    """The start policy's return: every curve measured it on the same games with the same draws."""
    return float(statistics.median(record["points"][0]["return"] for records in curves.values() for record in records))


def first_reached(record: dict[str, Any], threshold: float) -> int | None:
    """Conversations until the measured return was at `threshold` or above; None if it never was."""
    for point in record["points"]:
        if point["return"] >= threshold:
            return int(point["conversations"])
    return None


def write_table(curves: Curves, file: Path) -> str:
    """Markdown: for each method the conversations to a quarter, a half and three quarters of the way, and its end."""
    optimum = next(iter(curves.values()))[0]["optimum"]
    start = start_return(curves)
    thresholds = [start + share * (optimum - start) for share in SHARES]
    names = [f"{share:.0%} ({threshold:.2f})" for share, threshold in zip(SHARES, thresholds, strict=True)]
    lines = [
        f"Start {start:.2f}, optimum {optimum:.2f}. Conversations, warm-up included, until the return on 512 games",
        "reached a share of the way: the median over seeds, and each seed's in brackets; `-` is not in its budget.",
        "",
        f"| method | seeds | {' | '.join(names)} | last return (quartiles) | at conversations | s a conversation |",
        "| --- " * (6 + len(SHARES) - 1) + "|",
    ]
    for method, records in curves.items():
        cells = [_reached(records, threshold) for threshold in thresholds]
        last = sorted(record["points"][-1]["return"] for record in records)
        done = sorted(record["points"][-1]["conversations"] for record in records)
        seconds = [point["seconds"] / max(1, point["conversations"]) for point in (r["points"][-1] for r in records)]
        lines.append(
            f"| {method} | {len(records)} | {' | '.join(cells)} | {_quartiles(last)} | "
            f"{'/'.join(map(str, sorted(set(done))))} | {statistics.median(seconds):.3f} |"
        )
    text = "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text


def _reached(records: Sequence[dict[str, Any]], threshold: float) -> str:
    reached = _conversations(records, threshold)
    each = ", ".join("-" if count == math.inf else str(count) for count in reached)
    # The lower of two middle seeds would flatter: a seed that never came there counts as later than all others.
    middle = statistics.median_high(reached)
    return f"{'-' if middle == math.inf else middle} ({each})"


def write_ratios(curves: Curves, file: Path, *, ours: str) -> str:
    """Markdown: how many times the conversations of `ours` each other method needs to come as far.

    The ratio of medians over seeds; in brackets the 5th to the 95th percentile of it over seeds drawn again with
    replacement. A seed that never came there counts as infinitely late, so `>` bounds a ratio by what was played; where
    ours never came there the ratio is 0.
    """
    optimum = next(iter(curves.values()))[0]["optimum"]
    start = start_return(curves)
    lines = [
        f"Conversations over those of {ours}: the ratio of medians over seeds, and its 90 % bootstrap interval.",
        "",
        f"| method | seeds | {' | '.join(f'{share:.0%}' for share in SHARES)} |",
        "| --- " * (2 + len(SHARES)) + "|",
    ]
    chance = random.Random(0)
    for method, records in curves.items():
        if method == ours:
            continue
        cells = []
        for share in SHARES:
            threshold = start + share * (optimum - start)
            theirs, own = _conversations(records, threshold), _conversations(curves[ours], threshold)
            played = min(record["points"][-1]["conversations"] for record in records)
            cells.append(_ratio(theirs, own, played, chance))
        lines.append(f"| {method} | {len(records)} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    file.write_text(text)
    return text


def _conversations(records: Sequence[dict[str, Any]], threshold: float) -> list[float]:
    reached = [first_reached(record, threshold) for record in records]
    return [math.inf if count is None else count for count in reached]


def _ratio(theirs: Sequence[float], own: Sequence[float], played: int, chance: random.Random) -> str:
    middle = statistics.median_high(own)
    if middle == math.inf:
        return "-"
    if statistics.median_high(theirs) == math.inf:
        return f"> {played / middle:.1f}"

    def drawn(values: Sequence[float]) -> float:
        return statistics.median_high(chance.choices(values, k=len(values)))

    pairs = [(drawn(theirs), drawn(own)) for _ in range(RESAMPLES)]
    ratios = sorted(0.0 if mine == math.inf else other / mine for other, mine in pairs)
    low, high = ratios[round(0.05 * RESAMPLES)], ratios[round(0.95 * RESAMPLES)]
    return f"{statistics.median_high(theirs) / middle:.1f} ({low:.1f} to {high:.1f})"


def _quartiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def draw_curves(curves: Curves, file: Path, *, title: str) -> None:
    """Three panels: the share of the way against conversations, generated tokens and seconds, seed by seed."""
    optimum = next(iter(curves.values()))[0]["optimum"]
    start = start_return(curves)
    axes_names = {"conversations": "conversations", "tokens": "tokens generated", "seconds": "seconds"}
    figure, axes = pyplot.subplots(1, 3, figsize=(16, 5), sharey=True)
    for axis, (key, name) in zip(axes, axes_names.items(), strict=True):
        for colour, (method, records) in enumerate(curves.items()):
            for number, record in enumerate(records):
                across = [point[key] for point in record["points"]]
                up = [(point["return"] - start) / (optimum - start) for point in record["points"]]
                axis.plot(across, up, color=f"C{colour}", alpha=0.7, linewidth=1, label=method if number == 0 else None)
        axis.set_xscale("symlog", linthresh=64 if key == "conversations" else 1000)
        axis.set_xlabel(name)
        axis.axhline(1.0, color="grey", linestyle=":")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share of the way from start to optimum")
    axes[0].set_title(title)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    pyplot.close(figure)

"""What the runs say side by side: the return after equal outcomes and after equal conversations, and what is kept."""

import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from bench.late.plan import CONVERSATIONS, DELAYS, OUTCOMES, Planned
from bench.late.ways import WAYS

matplotlib.use("Agg")
from matplotlib import pyplot  # the backend must be chosen first

Records = dict[Planned, dict[str, Any]]
RESAMPLES = 10_000


def read_records(planned: Sequence[Planned]) -> Records:
    """Those that have ended."""
    return {each: json.loads(each.file.read_text()) for each in planned if each.file.is_file()}


def write_table(records: Records, file: Path) -> str:
    """Markdown."""
    start = statistics.median(record["points"][0]["return"] for record in records.values())
    lines = [
        f"Support desk, start {start:.3f}. Return on 512 games after {OUTCOMES:,} matured outcomes and, in brackets,",
        f"after {CONVERSATIONS:,} conversations: the median over seeds; a fifth of the outcomes never comes.",
        "",
        f"| way | {' | '.join(f'delay {delay:,}' for delay in DELAYS)} | kept at 1,000 |",
        "| --- " * (2 + len(DELAYS)) + "|",
    ]
    for way in WAYS:
        cells = [_cell(_ended(records, way, delay)) for delay in DELAYS]
        kept = _kept(records, start, (way, 1_000, False), (way, 0, False))
        lines.append(f"| {way} | {' | '.join(cells)} | {kept} |")
    lines += [
        "",
        "Kept: the improvement over the start as a share of the same way's at delay 0, the ratio of medians, and its",
        "90 % bootstrap interval over seeds. With a user who holds 5 % of the conversations and inverts their rewards:",
        "",
        "| way | return | of the improvement of nock at delay 0 without that user |",
        "| --- | --- | --- |",
    ]
    for way in ("nock", "uncapped"):
        kept = _kept(records, start, (way, 0, True), ("nock", 0, False))
        lines.append(f"| {way} | {_cell(_ended(records, way, 0, is_poisoned=True))} | {kept} |")
    text = "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text


def _ended(records: Records, way: str, delay: int, *, is_poisoned: bool = False) -> list[dict[str, Any]]:
    return [
        record
        for planned, record in records.items()
        if (planned.way, planned.delay, planned.is_poisoned) == (way, delay, is_poisoned)
    ]


def _cell(ended: Sequence[dict[str, Any]]) -> str:
    if not ended:
        return "-"
    after_outcomes = statistics.median(record["points"][-1]["return"] for record in ended)
    after_conversations = statistics.median(record["at_conversations"] for record in ended)
    return f"{after_outcomes:.3f} ({after_conversations:.3f}), {len(ended)} seeds"


def _kept(records: Records, start: float, late: tuple[str, int, bool], reference: tuple[str, int, bool]) -> str:
    ours, theirs = (
        {
            planned.seed: record["points"][-1]["return"] - start
            for planned, record in records.items()
            if (planned.way, planned.delay, planned.is_poisoned) == which
        }
        for which in (late, reference)
    )
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return "-"

    def ratio(drawn: Sequence[int]) -> float:
        late, at_once = ([values[seed] for seed in drawn] for values in (ours, theirs))
        return float(statistics.median(late) / statistics.median(at_once))

    chance = random.Random(0)
    ratios = sorted(ratio(chance.choices(seeds, k=len(seeds))) for _ in range(RESAMPLES))
    low, high = ratios[round(0.05 * RESAMPLES)], ratios[round(0.95 * RESAMPLES)]
    return f"{ratio(seeds):.1%} ({low:.1%} to {high:.1%})"


def draw(records: Records, file: Path) -> None:
    """A panel for each delay: the return against the outcomes that have matured, seed by seed."""
    figure, axes = pyplot.subplots(1, len(DELAYS), figsize=(18, 4.5), sharey=True)
    for axis, delay in zip(axes, DELAYS, strict=True):
        for colour, way in enumerate(WAYS):
            for number, record in enumerate(_ended(records, way, delay)):
                across = [point["outcomes"] for point in record["points"]]
                up = [point["return"] for point in record["points"]]
                axis.plot(across, up, color=f"C{colour}", alpha=0.7, linewidth=1, label=None if number else way)
        axis.set_title(f"outcomes {delay:,} conversations late")
        axis.set_xlabel("matured outcomes")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("return on 512 games")
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    pyplot.close(figure)

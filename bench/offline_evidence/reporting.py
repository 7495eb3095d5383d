"""What the record says: ranks, intervals and verdicts beside the truth, as a table and a picture."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch

from worker.archer.diagnostics import rank_correlation
from worker.evaluation.drawing import MOST

matplotlib.use("Agg")
from matplotlib import pyplot  # the backend must be chosen first

RESULTS = Path(__file__).parents[1] / "results" / "offline_evidence"
RECORD = RESULTS / "record.json"
Z = 1.96
HEAD = (
    "| log | an interval | Spearman | of fitted Q | hold the truth | with its own error | half-width | error |",
    "| --- " * 8 + "|",
)


def write_table(record: dict[str, Any]) -> str:
    """Markdown."""
    candidates = record["candidates"]
    true = [each["difference"] for each in candidates]
    error = statistics.mean(each["error"] for each in candidates)
    lines = [
        f"Support desk, {len(candidates)} candidates, start {record['start']:.4f}. True differences lie from",
        f"{min(true):+.3f} to {max(true):+.3f}, each with a standard error of {error:.4f}; a log has {MOST} games.",
        "",
        *HEAD,
    ]
    for log in range(len(candidates[0]["logs"])):
        lines.append(_row(str(log + 1), [(each, each["logs"][log]) for each in candidates]))
    learned = [(each, each["made_of"]) for each in candidates]
    lines += [
        "",
        "By the games that each was made of, which it may have learned by heart:",
        "",
        *HEAD,
        _row("its own", learned),
        "",
        "| candidates | mean error by another log | mean error by its own games |",
        "| --- | --- | --- |",
    ]
    for kind in dict.fromkeys(each["kind"] for each in candidates):
        those = [each for each in candidates if each["kind"] == kind and each["distance"] > 0]
        by_log = [_error(each, log) for each in those for log in each["logs"] if log["difference"]]
        by_own = [_error(each, each["made_of"]) for each in those if each["made_of"]["difference"]]
        lines.append(f"| {kind} | {_mean(by_log)} | {_mean(by_own)} |")
    lines += ["", "| verdict | of them | truly below 0 | truly below the margin |", "| --- | --- | --- | --- |"]
    every = [(each, log) for each in candidates for log in each["logs"]]
    for state, count in Counter(log["state"] for _, log in every).items():
        those_judged = [(each["difference"], log) for each, log in every if log["state"] == state]
        below = sum(true < 0 for true, _ in those_judged)
        far_below = sum(true < -log["margin"] for true, log in those_judged)
        lines.append(f"| {state} | {count} | {below} | {far_below} |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "offline_evidence.md").write_text(text)
    return text


def _row(name: str, judged: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    shown = [(each, log) for each, log in judged if log["difference"]]
    true = torch.tensor([each["difference"] for each, _ in shown])
    errors = [_error(each, log) for each, log in shown]
    reach = [(log["difference"]["high"] - log["difference"]["low"]) / 2 for _, log in shown]
    held = sum(abs(error) <= half for error, half in zip(errors, reach, strict=True))
    allowed = [math.hypot(half, Z * each["error"]) for (each, _), half in zip(shown, reach, strict=True)]
    held_with_error = sum(abs(error) <= half for error, half in zip(errors, allowed, strict=True))
    found = [log["difference"]["mean"] for _, log in shown], [log["fitted_q"] for _, log in shown]
    ranks = [rank_correlation(torch.tensor(values), true) for values in found]
    n = len(shown)
    return (
        f"| {name} | {n} of {len(judged)} | {ranks[0]:.2f} | {ranks[1]:.2f} | {held} of {n} | {held_with_error} of {n} "
        f"| {statistics.mean(reach):.4f} | {math.sqrt(statistics.mean(error**2 for error in errors)):.4f} |"
    )


def _error(candidate: dict[str, Any], log: dict[str, Any]) -> float:
    error: float = log["difference"]["mean"] - candidate["difference"]
    return error


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):+.4f}" if values else "-"


def draw(record: dict[str, Any]) -> None:
    """The estimates of the first log against the truth, each with both errors."""
    figure, axes = pyplot.subplots(figsize=(7, 6))
    for kind in dict.fromkeys(each["kind"] for each in record["candidates"]):
        shown = [each for each in record["candidates"] if each["kind"] == kind and each["logs"][0]["difference"]]
        found = [each["logs"][0]["difference"] for each in shown]
        axes.errorbar(
            [each["difference"] for each in shown],
            [each["mean"] for each in found],
            xerr=[Z * each["error"] for each in shown],
            yerr=[(each["high"] - each["low"]) / 2 for each in found],
            fmt="o",
            markersize=4,
            elinewidth=0.7,
            label=kind,
        )
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="grey", linewidth=0.7)
    axes.axhline(0, color="grey", linewidth=0.4)
    axes.axvline(0, color="grey", linewidth=0.4)
    axes.set_xlabel("true difference to the start policy, by on-policy games")
    axes.set_ylabel("offline estimate by the start policy's games, 95 %")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "offline_evidence.png", dpi=130)
    pyplot.close(figure)

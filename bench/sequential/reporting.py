"""The tables and the picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # the backend must be chosen first


def write_table(result: dict[str, Any], file: Path) -> str:
    """Markdown."""
    errors, power = result["errors"], result["power"]
    lines = [
        f"{errors['runs']:,} canaries a row, each looked at after every unit until {errors['canaries']:,} canary units",
        f"were in; the budget is {result['error']:.0%}. In brackets the upper 95 % Clopper-Pearson bound. The last",
        "column is a two-sided 5 % z-test on the reward alone that is looked at as often.",
        "",
        "| canaries | promoted | rolled back | wrong verdicts | z-test |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in errors["rows"]:
        peeking = "-" if row["peeking_z_share"] is None else f"{row['peeking_z_share']:.1%}"
        wrong = f"{row['wrong_share']:.2%} ({row['upper_95']:.2%})"
        lines.append(f"| {row['scenario']} | {row['promoted']} | {row['rolled_back']} | {wrong} | {peeking} |")
    lines += [
        "",
        f"{power['runs']:,} canaries a row that are better: a Bernoulli reward of {power['base']:g} and the effect,",
        f"beside a guard of {power['guard_base']:g} that stays as it is (margin 5 points). In canary units, the ramp's",
        "included; who is undecided counts with all of them. The fixed test is the z-test of the same error, whose",
        "sample size must be known in advance, with 80 % power.",
        "",
        f"| effect | promoted by {power['first']:,} | by {power['canaries']:,} | mean to the verdict | 80 % promoted "
        "by | fixed test | reward alone: mean | 80 % by | fixed test |",
        "| --- " * 9 + "|",
    ]
    for row in power["rows"]:
        whole = ["mean_canaries_to_verdict", "canaries_for_80", "fixed_for_80"]
        reward = ["mean_canaries_to_reward", "reward_canaries_for_80", "fixed_reward_for_80"]
        cells = [_count(row[key]) for key in whole + reward]
        shares = f"{row['promoted_share_by_first']:.1%} | {row['promoted_share']:.1%}"
        lines.append(f"| {row['effect']:.0%} | {shares} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def draw(result: dict[str, Any], file: Path) -> None:
    """Wrong verdicts so far, and promotions so far, against canary units."""
    errors, power = result["errors"], result["power"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(14, 5))
    for colour, row in enumerate(errors["rows"]):
        across, up = _steps(row["wrong_at_canaries"], errors["runs"], errors["canaries"])
        left.step(across, up, where="post", color=f"C{colour}", label=row["scenario"])
    left.axhline(result["error"], color="grey", linestyle=":", label="the budget")
    left.set_title("canaries that must not be decided")
    left.set_ylabel("share decided")
    for colour, row in enumerate(power["rows"]):
        across, up = _steps(row["promoted_at_canaries"], power["runs"], power["canaries"])
        right.step(across, up, where="post", color=f"C{colour}", label=f"better by {100 * row['effect']:.0f} points")
        right.plot(row["fixed_for_80"], 0.8, marker="x", color=f"C{colour}")
    right.plot([], [], marker="x", linestyle="", color="grey", label="a fixed test of 80 % power")
    right.set_title("canaries that should be promoted")
    right.set_ylabel("share promoted")
    for axis in (left, right):
        axis.set_xlabel("canary units")
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=90)
    pyplot.close(figure)


def _steps(at: Sequence[int], runs: int, until: int) -> tuple[list[float], list[float]]:
    return [1, *at, until], [0.0, *[(place + 1) / runs for place in range(len(at))], len(at) / runs]

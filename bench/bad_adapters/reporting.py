"""The table."""

from pathlib import Path
from typing import Any


def write_table(result: dict[str, Any], file: Path) -> str:
    """Markdown."""
    served = result["in_service"]
    lines = [
        f"{result['conversations']:,} conversations at the support desk, {result['seeds']} seeds a row; outcomes come",
        f"{result['delay']} conversations late.",
        f"In service: {served['worth']:.3f} a conversation, {served['closed']:.1%} closed, {served['told']:.1%} told.",
        "Medians over seeds. Regret is the conversations that the version served times what each loses. Publishing at",
        "once exposes all; a fixed 50/50 test (z, 80 % power for five points) exposes",
        f"{result['fixed_units_of_an_arm']:,} and those on their way when it ends.",
        "",
        "| version | worth | closed | told | ramp | rolled back | promoted | by | exposed (most) | after | regret "
        "| of publishing at once | of the fixed test |",
        "| --- " * 13 + "|",
    ]
    for row in result["rows"]:
        true, by = row["true"], ", ".join(f"{name} {count}" for name, count in sorted(row["by"].items()))
        cells = [
            row["version"],
            f"{true['worth']:.3f}",
            f"{true['closed']:.1%}",
            f"{true['told']:.1%}",
            row["ramp"],
            f"{row['rolled_back']}",
            f"{row['promoted']}",
            by or "-",
            f"{row['median_exposed']:,.0f} ({row['most_exposed']:,})",
            f"{row['median_conversations']:,.0f}",
            f"{row['median_regret']:,.1f}",
            f"{row['share_of_always_publishing']:.1%}",
            f"{row['share_of_a_fixed_test']:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text

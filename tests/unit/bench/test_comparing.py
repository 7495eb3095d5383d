"""How curves are compared: when a share of the way is reached, ratios, and what a seed that never came there counts."""

import pytest

from bench.comparing import write_ratios, write_table


def record(*returns, per_point=100):
    """A curve from -10 towards an optimum of -2, measured every hundred conversations."""
    points = [
        {"conversations": per_point * place, "seconds": 0.5 * per_point * place, "return": value}
        for place, value in enumerate(returns)
    ]
    return {"points": points, "optimum": -2.0}


def rows(table):
    return {line.split(" | ")[0].strip("| "): line for line in table.splitlines() if line.startswith("| ")}


def test_a_table_names_the_conversations_to_each_share_of_the_way(tmp_path):
    table = write_table({"mine": [record(-10, -8, -6, -4), record(-10, -4, -4, -4)]}, tmp_path / "table.md")
    # The later of two middle seeds: 100 and 100, 200 and 100, 300 and 100.
    line = rows(table)["mine"]
    assert "100 (100, 100) | 200 (200, 100) | 300 (300, 100)" in line
    assert "0.500" in line


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ([record(-10, -10, -8, -7)] * 2, "2.0 (2.0 to 2.0) | > 3.0 | -"),
        ([record(-10, -8, -6, -4)] * 2, "1.0 (1.0 to 1.0) | 2.0 (2.0 to 2.0) | -"),
        ([record(-10, -8), record(-10, -10, -10, -8)], "3.0 (1.0 to 3.0) | > 1.0 | -"),
    ],
)
def test_a_ratio_is_of_medians_and_bounded_by_what_was_played(tmp_path, theirs, expected):
    ours = [record(-10, -6, -5)] * 2
    table = write_ratios({"ours": ours, "theirs": theirs}, tmp_path / "ratios.md", ours="ours")
    assert expected in rows(table)["theirs"]
    assert "ours" not in rows(table)


def test_where_ours_may_never_come_the_interval_begins_at_nothing(tmp_path):
    curves = {"ours": [record(-10, -4), record(-10, -4), record(-10, -10)], "theirs": [record(-10, -4)] * 3}
    table = write_ratios(curves, tmp_path / "ratios.md", ours="ours")
    # Two of three draws of the seed that never came: 7 of 27 medians.
    assert rows(table)["theirs"].endswith("1.0 (0.0 to 1.0) | 1.0 (0.0 to 1.0) | 1.0 (0.0 to 1.0) |")

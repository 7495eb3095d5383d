"""Show rows as a table, or as JSON for scripts."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer

WIDE = 240
TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\S*Z$")


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool, empty: str) -> None:
    """One row a line under the named columns."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2))
        return
    if not rows:
        typer.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE  # a pipe has no edge to wrap at
    console.print(table, markup=False)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return TIME.sub(r"\1 \2", str(value))

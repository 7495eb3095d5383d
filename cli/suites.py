"""`nock suite`: ask a version the prompts that no version may fail, and show which it failed."""

import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.gateway import Gateway, clear_errors
from cli.options import Json, Key, Url

app = typer.Typer(help="Regression suites.", no_args_is_help=True)

OVER = ("passed", "failed")
POLL_SECONDS = 0.5

Adapter = Annotated[str, typer.Argument(help="A version: demo@v1.")]


@app.command("run")
def run_command(
    adapter: Adapter,
    wait: Annotated[bool, typer.Option("--wait", help="Show its progress, and what failed.")] = False,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Ask a version its agent's suite. With --wait, a failure ends with status 1."""
    gateway = Gateway(url, key, scope="admin")
    with clear_errors():
        evaluation_id = gateway.call("POST", f"{_path(adapter)}/suite")["evaluation_id"]
        if not wait:
            typer.echo(evaluation_id)
            return
        found = _watch(gateway, adapter, evaluation_id)
    _tell(adapter, found, as_json=as_json)


@app.command("show")
def show_command(adapter: Adapter, as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """Show the newest answers of a version to its agent's suite."""
    with clear_errors():
        evidence = Gateway(url, key, scope="admin").call("GET", _path(adapter))["evidence"] or {}
    if "suite" not in evidence:
        typer.echo(f"{adapter} was never asked a suite.")
        return
    _tell(adapter, evidence["suite"], as_json=as_json)


def _path(adapter: str) -> str:
    return f"/admin/adapters/{quote(adapter, safe='')}"


def _watch(gateway: Gateway, adapter: str, evaluation_id: str) -> dict[str, Any]:
    """Poll until it has ended; another that began since would be shown in its place."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("queued", total=None)
        while True:
            found: dict[str, Any] = gateway.call("GET", _path(adapter))["evidence"]["suite"]
            figures = found["figures"] or {}
            asked = len(figures.get("prompts", []))
            progress.update(task, description=found["state"], completed=asked, total=figures.get("total"))
            if found["evaluation_id"] != evaluation_id or found["state"] in OVER:
                return found
            time.sleep(POLL_SECONDS)


def _tell(adapter: str, found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _show_prompts((found["figures"] or {}).get("prompts", []))
        typer.echo(f"{adapter} {found['state']}{': ' + found['reason'] if found['reason'] else ''}")
    if found["state"] == "failed":
        raise typer.Exit(1)


def _show_prompts(prompts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not prompts:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("prompt", "", "seconds", "what is wrong"):
        table.add_column(column, overflow="fold")
    for prompt in prompts:
        verdict = Text("failed", style="red") if prompt["failures"] else Text("passed", style="green")
        wrong = Text("\n".join(prompt["failures"]))  # as it is: a sentence may hold what rich takes for markup
        table.add_row(Text(prompt["name"]), verdict, f"{prompt['seconds']:.1f}", wrong)
    Console().print(table)

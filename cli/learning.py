"""`nock learn` and `nock runs`: start a learner step, watch it, list what was learned."""

import time
from typing import Annotated, Any

import typer

from cli.gateway import Gateway, clear_errors, fail
from cli.options import Json, Key, Url
from cli.tables import show

COLUMNS = ("run_id", "state", "progress", "adapter", "reason", "started_at", "ended_at")
OVER = ("succeeded", "skipped", "failed")


def learn(
    agent: Annotated[str, typer.Argument()],
    wait: Annotated[bool, typer.Option("--wait", help="Show its progress until it ends.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Start a learner step now. With --wait, a step that failed ends with status 1."""
    gateway = Gateway(url, key, scope="admin")
    with clear_errors():
        run_id = gateway.call("POST", f"/admin/agents/{agent}/learn")["run_id"]
        if not wait:
            typer.echo(run_id)
            return
        run = _watch(gateway, run_id)
    if run["state"] == "failed":
        fail(f"{run_id} failed: {run['reason']}")
    typer.echo(f"{run_id} {run['state']}: {run['adapter'] or run['reason']}")


def runs(agent: Annotated[str, typer.Argument()], as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """List an agent's learner runs, newest first."""
    with clear_errors():
        found = Gateway(url, key, scope="admin").call("GET", f"/admin/agents/{agent}/runs")["data"]
    show(found, COLUMNS, as_json=as_json, empty=f"{agent} has learned nothing yet.")


def _watch(gateway: Gateway, run_id: str) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("queued", total=1.0)
        while True:
            run = gateway.call("GET", f"/admin/runs/{run_id}")
            progress.update(task, description=run["state"], completed=run["progress"] or 0.0)
            if run["state"] in OVER:
                return run
            time.sleep(0.5)

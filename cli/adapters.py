"""`nock adapters`, `promote` and `rollback`: an agent's versions, and which of them serves."""

from typing import Annotated
from urllib.parse import quote

import typer

from cli.gateway import Gateway, clear_errors
from cli.options import Json, Key, Url
from cli.tables import show

COLUMNS = ("adapter", "state", "parent", "run_id", "sha256", "created_at")


def adapters(agent: Annotated[str, typer.Argument()], as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """List an agent's adapter versions."""
    with clear_errors():
        found = Gateway(url, key, scope="admin").call("GET", f"/admin/agents/{agent}/adapters")["data"]
    rows = found if as_json else [{**row, "sha256": (row.get("sha256") or "-")[:12]} for row in found]
    show(rows, COLUMNS, as_json=as_json, empty=f"{agent} has no adapter yet: it answers with its base model.")


def promote(
    adapter: Annotated[str, typer.Argument(help="A version: demo@v1.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the event.")],
    force: Annotated[bool, typer.Option("--force", help="Promote without the evidence that is missing.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Make a version the stable one: it serves each conversation that starts from now on."""
    body = {"reason": reason, "force": force}
    with clear_errors():
        gateway = Gateway(url, key, scope="admin")
        gateway.call("POST", f"/admin/adapters/{quote(adapter, safe='')}/promote", body)
    typer.echo(f"{adapter} is stable now")


def rollback(
    agent: Annotated[str, typer.Argument()],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the event.")] = "rolled back by hand",
    url: Url = None,
    key: Key = None,
) -> None:
    """Go back to the previous stable version."""
    with clear_errors():
        gateway = Gateway(url, key, scope="admin")
        gateway.call("POST", f"/admin/agents/{agent}/rollback", {"reason": reason})
        stable = gateway.call("GET", f"/admin/agents/{agent}/rollout")["stable"]
    typer.echo(f"{stable} is stable again")

"""`nock audit`: what administrators did, newest first."""

from typing import Annotated

import typer

from cli.gateway import Gateway, clear_errors
from cli.options import Json, Key, Url
from cli.tables import show


def audit(
    agent: Annotated[str | None, typer.Option(help="Only what touched this agent.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this: key.create, rollout.promote …")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Show what administrators did."""
    with clear_errors():
        query = {"agent": agent, "action": action, "limit": limit}
        found = Gateway(url, key, scope="admin").call("GET", "/admin/audit", **query)["data"]
    show(found, ("at", "by", "action", "agents", "subject", "details"), as_json=as_json, empty="Nothing was done.")

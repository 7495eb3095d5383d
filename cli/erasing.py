"""`nock erase`: take a conversation or an end user out of everything that is stored, and show the report."""

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.gateway import Gateway, clear_errors
from cli.options import Json, Key, Url

app = typer.Typer(help="Erase conversations and end users.", no_args_is_help=True)

Agent = Annotated[str | None, typer.Option(help="With this agent only.")]


@app.command("conversation")
def erase_conversation(
    conversation: Annotated[str, typer.Argument(help="The conversation's id, the service's or your own.")],
    agent: Agent = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Erase a conversation and all that repeats it; again shows the first report."""
    _erase(f"/conversations/{quote(conversation, safe='')}", agent, as_json, url, key)


@app.command("user")
def erase_user(
    user: Annotated[str, typer.Argument(help="The end user as chats named them.")],
    agent: Agent = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Erase every conversation of an end user; again shows the first report."""
    _erase(f"/users/{quote(user, safe='')}", agent, as_json, url, key)


def _erase(path: str, agent: str | None, as_json: bool, url: str | None, key: str | None) -> None:
    with clear_errors():
        report = Gateway(url, key, scope="admin").call("DELETE", path, agent=agent)
    typer.echo(json.dumps(report, indent=2) if as_json else tell(report))


def tell(report: dict[str, Any]) -> str:
    """The report in a few lines."""
    counts = ", ".join(f"{count} {table}" for table, count in sorted(report["removed"].items()) if count)
    lines = [f"{report['erasure_id']}: erased {counts}"]
    for part in report["agents"]:
        done = part["consequences"]
        for version in done["versions"]:
            lines.append(f"{version['adapter']} learned {version['learned']}: {version['marked']}")
        if done["stable"]:
            lines.append(f"{done['stable']} is stable again")
        if done["queued_run"]:
            lines.append(f"{done['queued_run']} learns without it")
        if done["running"]:
            lines.append(f"{done['running']} was learning: what comes out of it is marked if it had read it")
    return "\n".join([*lines, "Beyond reach:", *(f"- {sentence}" for sentence in report["beyond_reach"])])

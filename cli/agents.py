"""`nock agents`: bring agents in line with their YAML files, over HTTP; knows no field of theirs but the name."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gateway import Gateway, Refused, clear_errors, fail
from cli.options import Json, Key, Url
from cli.tables import show

app = typer.Typer(help="Agents and their files.", no_args_is_help=True)


class BadAgentFile(Exception):
    """A file that is no agent."""


@app.command("apply")
def apply_command(
    files: Annotated[list[Path] | None, typer.Argument(help="Agent files [default: agents/*.yaml].")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Create or change agents as their files say."""
    chosen = files or agent_files()
    if not chosen:
        fail("There are no agents/*.yaml here: name the files.")
    try:
        with clear_errors():
            gateway = Gateway(url, key, scope="admin")
            for file in chosen:
                typer.echo(apply_agent(gateway, file))
    except BadAgentFile as error:
        fail(error)


@app.command("list")
def list_command(as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """List the agents."""
    with clear_errors():
        found = Gateway(url, key, scope="admin").call("GET", "/admin/agents")["data"]
    rows = [{**row, "agent": row["name"]} for row in found] if not as_json else found
    show(rows, ("agent", "base_model", "discount", "max_turns", "idle_seconds"), as_json=as_json, empty="No agents.")


def agent_files() -> list[Path]:
    """The agent files of the folder that the user stands in."""
    return sorted(Path("agents").glob("*.yaml"))


def apply_agent(gateway: Gateway, file: Path) -> str:
    """Make one agent what its file says; one line that says what that took."""
    wanted = read_agent(file)
    name = wanted["name"]
    try:
        current = gateway.call("GET", f"/admin/agents/{name}")
    except Refused as refusal:
        if refusal.status != 404:
            raise
        gateway.call("POST", "/admin/agents", wanted)
        return f"{name}: created"
    changes = {field: value for field, value in wanted.items() if not _holds(current.get(field), value)}
    if not changes:
        return f"{name}: unchanged"
    gateway.call("PATCH", f"/admin/agents/{name}", changes)
    return f"{name}: changed {', '.join(sorted(changes))}"


def read_agent(file: Path) -> dict[str, Any]:
    """The fields of an agent file."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadAgentFile(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise BadAgentFile(f"{file} is no agent: it must be a mapping with a `name`.")
    return content


def _holds(current: object, wanted: object) -> bool:
    """Whether the agent already says what the file does; what the file leaves out is not compared."""
    if isinstance(wanted, dict) and isinstance(current, dict):
        return all(_holds(current.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(current, list):
        return len(wanted) == len(current) and all(map(_holds, current, wanted))
    return current == wanted

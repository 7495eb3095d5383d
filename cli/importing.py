"""`nock import-adapter`: send a LoRA that was trained elsewhere, and show how far it is."""

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from cli.gateway import Gateway, clear_errors, fail
from cli.options import Key, Url

if TYPE_CHECKING:
    from rich.progress import Progress

CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def import_adapter(
    folder: Annotated[Path, typer.Argument(help=f"A peft folder: {CONFIGURATION} and {WEIGHTS}.")],
    agent: Annotated[str, typer.Option(help="Whose candidate it becomes.")],
    name: Annotated[str | None, typer.Option(help="What you call it; kept with the version.")] = None,
    base_model: Annotated[
        str | None, typer.Option(help=f"What it was trained on, where {CONFIGURATION} does not say.")
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Make a LoRA that was trained elsewhere an agent's newest candidate."""
    missing = [file for file in (CONFIGURATION, WEIGHTS) if not (folder / file).is_file()]
    if missing:
        fail(f"There is no {' and no '.join(missing)} in {folder}.")
    with (folder / WEIGHTS).open("rb") as weights:
        fields = {"sha256": hashlib.file_digest(weights, "sha256").hexdigest(), "name": name, "base_model": base_model}
    with clear_errors(), _progress() as progress, ExitStack() as opened:
        files: dict[str, BinaryIO] = {
            CONFIGURATION: opened.enter_context((folder / CONFIGURATION).open("rb")),
            WEIGHTS: opened.enter_context(progress.open(folder / WEIGHTS, "rb", description=WEIGHTS)),
        }
        given = {field: value for field, value in fields.items() if value is not None}
        made = Gateway(url, key, scope="admin").upload(f"/admin/agents/{agent}/adapters", files, given)
    typer.echo(f"{made['adapter']} is a {made['state']}" if made["state"] == "candidate" else _known(made))


def _known(made: dict[str, Any]) -> str:
    return f"{made['adapter']} was made of the same files before; it is {made['state']}"


def _progress() -> "Progress":
    """A bar where somebody watches, nothing where a script does."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

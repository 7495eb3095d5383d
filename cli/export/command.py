"""`nock export` as it is typed: its options, its progress bar, and what it says when it cannot go on."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.database_address import database_url
from cli.gateway import fail

GO_ON = "The same command goes on where this one stopped."


def export(
    agent: Annotated[str, typer.Option(help="Whose conversations.")],
    out: Annotated[Path, typer.Option(help="The folder to write to: new, empty, or of an export that was stopped.")],
    since: Annotated[str | None, typer.Option(help="Opened at or after: 2026-11-01, or a time (UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Opened before.")] = None,
    with_tokens: Annotated[
        bool, typer.Option("--with-tokens", help="Token ids and log-probs of each turn too.")
    ] = False,
) -> None:
    """Write an agent's conversations, turns, outcomes and versions as Parquet files.

    It reads the database itself: NOCK_DATABASE_URL, or this machine's stack.

    Stopped or killed, the same command goes on; manifest.json is there once all is.

    docs/export.md has the columns.
    """
    first, end = _moment(since, "--since"), _moment(until, "--until")
    if first is not None and end is not None and first >= end:
        raise typer.BadParameter(f"--since {since} is not before --until {until}")
    try:
        from cli.export.exporting import Asked
        from cli.export.exporting import export as write
    except ModuleNotFoundError as error:
        fail(f"An export needs the package {error.name}: run `make install`, or install Nock's extra `export`.")
    address, path = database_url(), out.expanduser().resolve()
    asked = Asked(agent, first, end, with_tokens)
    with _clear_errors(path), _progress() as tell:
        manifest = asyncio.run(write(address, asked, path, tell=tell, note=_note))
    counts, size = manifest["counts"], sum(file["bytes"] for file in manifest["files"])
    told = ", ".join(f"{counts[table]:,} {table}" for table in ("conversations", "turns", "rewards", "versions"))
    typer.echo(f"{told} in {path} ({size / 1e6:,.1f} MB), as of {manifest['snapshot_at']}")


def _moment(text: str | None, option: str) -> datetime | None:
    """A day or a time; UTC where it does not say."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} {text} is no time: write 2026-11-01 or 2026-11-01T09:00:00Z") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _note(line: str) -> None:
    typer.secho(line, fg="yellow", err=True)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError, OperationalError

    from cli.export.folder import ExportError

    try:
        yield
    except ExportError as error:
        fail(error)
    except OperationalError as error:
        fail(f"The database does not answer: {_first_line(error.orig)}. {GO_ON}")
    except DBAPIError as error:
        fail(
            f"The database refused: {_first_line(error.orig)}"
            " (are the migrations done? python -m core.storage.migrations upgrade)"
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # pyarrow's own sentence is a long one
        fail(f"{error.filename or path} cannot be written: {reason}. Make room or mend it. {GO_ON}")
    except KeyboardInterrupt:
        fail(f"Stopped. {GO_ON}")


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0]


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar, and what says how far it is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("conversations", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)

"""`nock simulate`: a task's simulated users talk to an agent and say how it went, over HTTP as anybody would."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.gateway import clear_errors, fail
from cli.options import Key, Url

if TYPE_CHECKING:
    from sim.task import Task


def simulate(
    task: Annotated[str, typer.Option(help="Whose users: twenty-questions, or another task of docs/tasks.md.")],
    conversations: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    parallel: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 8,
    agent: Annotated[str, typer.Option(help="Whom they talk to.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="The first user; the next ones follow. Same seed, same user.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Append a line of JSON for each conversation to this file.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Let simulated users talk to an agent and say how it went; again after a promotion, it shows what was learned."""
    chosen = find_task(task)
    from cli.simulation.calls import Calls
    from cli.simulation.conversing import Conversation, converse_with_all
    from cli.simulation.outcomes import LateOutcomes
    from cli.simulation.reporting import line_of, print_scores

    calls = Calls(agent, url, key)
    seeds = range(seed, seed + conversations)
    ended: list[Conversation] = []
    try:
        with clear_errors(), _journal(out) as write, calls.opened(), _progress(conversations) as advance:
            late = LateOutcomes(calls.reward)
            with closing(converse_with_all(chosen, seeds, calls, parallel=parallel)) as talking:
                for conversation in talking:
                    ended.append(conversation)
                    write(line_of(conversation, chosen, agent))
                    late.add(conversation, chosen.delay(conversation.seed))
                    advance()
            late.tell_rest()
    finally:
        if ended:
            print_scores(ended, chosen, agent)


def find_task(name: str) -> "Task":
    """The task of this name; none ends the command."""
    try:
        from sim.catalogue import UnknownTaskError
        from sim.catalogue import find_task as find
    except ModuleNotFoundError as error:
        fail(f"Simulated users need the package {error.name}: run `make install`, or install Nock's extra `sim`.")
    try:
        return find(name)
    except UnknownTaskError as error:
        fail(error)


@contextmanager
def _journal(file: Path | None) -> Iterator[Callable[[str], None]]:
    """What writes a line to the file, if there is one: at once, so that a later failure takes nothing away."""
    if file is None:
        yield lambda line: None
        return
    try:
        opened = file.open("a", buffering=1)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")
    with opened:
        yield lambda line: opened.writelines((line, "\n"))


@contextmanager
def _progress(conversations: int) -> Iterator[Callable[[], None]]:
    """A bar, and what moves it on by one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("conversations", total=conversations)
        yield lambda: progress.advance(bar)

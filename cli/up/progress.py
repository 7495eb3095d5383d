"""Show what is being done and for how long: a moving line in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Tell = Callable[[str], None]
LONGEST_DETAIL = 70


class Steps:
    """Steps of a start, one after another."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, doing: str) -> Iterator[Tell]:
        """Show a step while it runs, and its seconds when it is done. What is yielded shows a detail meanwhile."""
        began = time.monotonic()
        if self.console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task(doing)
                yield lambda detail: progress.update(task, description=f"{doing}: {detail[:LONGEST_DETAIL]}")
        else:
            self.console.print(f"  {doing} …", markup=False, highlight=False)
            yield lambda detail: None
        self.say(f"✓ {doing}  {time.monotonic() - began:.1f} s", style="green")

    def say(self, line: str, style: str | None = None) -> None:
        """A line that stays."""
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

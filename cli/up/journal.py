"""Read what the tethers noted: each start and each end of a program since the stack came up."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Journal:
    """The starts of one program. `pid` is the last one's own process, not its tether's; `status` None while it runs."""

    start_count: int
    pid: int | None
    status: int | None


def read_journal(file: Path) -> Journal:
    """The journal of one program; empty before its first start."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except FileNotFoundError:
        lines = []
    starts = [int(number) for word, number in lines if word == "started"]
    ended = bool(lines) and lines[-1][0] == "ended"
    return Journal(len(starts), starts[-1] if starts else None, int(lines[-1][1]) if ended else None)

"""Find and end what a stack left running when its supervisor was killed in a way that no tether could notice."""

import contextlib
import os
from pathlib import Path

import psutil

from cli.up.home import Home
from cli.up.supervision import MARK


def end_leftovers(home: Home, *, grace_seconds: float = 3) -> list[str]:
    """Stop whatever still runs for this stack; the names of what was found."""
    found = find_leftovers(home)
    names = [process.name() for process in found if process.is_running()]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return names


def find_leftovers(home: Home) -> list[psutil.Process]:
    """Processes that carry the stack's mark in their environment, and its Postgres, which overwrites that."""
    marked = [process for process in psutil.process_iter() if process.pid != os.getpid() and _is_marked(process, home)]
    server = _find_postgres(home.postgres / "postmaster.pid", home.postgres)
    return [*marked, *([server] if server is not None and server not in marked else [])]


def _is_marked(process: psutil.Process, home: Home) -> bool:
    try:
        return process.environ().get(MARK) == str(home.run)
    except (psutil.Error, OSError):
        return False  # somebody else's, or gone


def _find_postgres(lock: Path, data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(int(lock.read_text().split("\n", 1)[0]))
        return process if str(data) in process.cmdline() else None
    except (OSError, ValueError, psutil.Error):
        return None

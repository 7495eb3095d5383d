"""One `nock up` at a time on a state folder: a file lock, which the kernel lets go of however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.up.errors import StartError


@contextmanager
def only_one(file: Path) -> Iterator[None]:
    """Hold the lock, or say who does."""
    with file.open("a+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"Nock already runs on {file.parent.parent} (process {holder(file)}).",
                advice="Stop it with `nock down`, or set NOCK_HOME, NOCK_PORT and NOCK_ENGINE_PORT for a second one.",
            ) from None
        os.set_inheritable(opened.fileno(), False)
        opened.truncate(0)
        opened.write(f"{os.getpid()}\n")
        opened.flush()
        yield


def holder(file: Path) -> int | None:
    """The process that holds the lock now."""
    if not file.exists():
        return None
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(opened.read() or 0) or None
    return None

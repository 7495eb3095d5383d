"""Several gateway processes count together: each into files of one folder, which whoever is asked adds up.

The client library decides when it is loaded, by its variable in the environment. A process alone counts in memory.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LIVE = re.compile(r"gauge_live\w+_(\d+)\.db")


@contextmanager
def shared_folder() -> Iterator[None]:
    """Have the processes that are started meanwhile count together. For their parent, which counts nothing itself."""
    with tempfile.TemporaryDirectory(prefix="nock-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


def collector_of(own: CollectorRegistry) -> Collector:
    """What all processes counted; this process' own where it is alone."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return own
    forget_dead(Path(folder))
    return MultiProcessCollector(CollectorRegistry(), folder)  # type: ignore[no-untyped-call]  # untyped in the library


def forget_dead(folder: Path) -> None:
    """What processes that have ended hold no more goes; what they counted stays, or counters would fall."""
    for pid in {int(found[1]) for file in folder.iterdir() if (found := LIVE.fullmatch(file.name))}:
        if not _lives(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]  # untyped in the library


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the number is somebody else's by now
        return False
    return True

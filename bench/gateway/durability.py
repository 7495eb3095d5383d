"""What one commit and one fsync cost on this machine: no gateway that keeps what it says can be faster than that."""

import os
import time
from pathlib import Path

import psycopg

from bench.gateway.spread import spread

TIMES = 500
PAGE = 8192


def commits(libpq: str) -> dict[str, float]:
    """Milliseconds of a committed insert of one short row over one connection, which nobody else writes beside."""
    with psycopg.connect(libpq, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bare (number bigint)")
        seconds = []
        for number in range(TIMES):
            began = time.perf_counter()
            connection.execute("INSERT INTO bare VALUES (%s)", (number,))
            seconds.append(time.perf_counter() - began)
    return spread(seconds)


def syncs(folder: Path) -> dict[str, float]:
    """Milliseconds of a page written over and brought to the disk, as Postgres does with its log."""
    file = folder / "synced"
    file.write_bytes(bytes(16 * PAGE))
    seconds = []
    with file.open("r+b", buffering=0) as opened:
        for number in range(TIMES):
            began = time.perf_counter()
            os.pwrite(opened.fileno(), bytes([number % 256]) * PAGE, PAGE * (number % 16))
            os.fdatasync(opened.fileno())
            seconds.append(time.perf_counter() - began)
    file.unlink()
    return spread(seconds)

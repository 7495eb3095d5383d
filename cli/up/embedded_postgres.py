"""The PostgreSQL 18 that comes as a wheel: its data folder, its database, its address."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from cli.up.errors import StartError
from cli.up.postgres_account import Account, account_for_postgres, hand_over, let_read, let_through
from cli.up.postgres_process import command, postgres_program

__all__ = ["answers", "command", "create_database", "prepare", "url"]

DATABASE = "nock"
SUPERUSER = "postgres"
VERSION = "18"


def prepare(data: Path, sockets: Path) -> list[Path]:
    """Make data and socket folder where there are none, owned by the account that the server runs under.

    The answer names the folders above that this account had to be let through; there are none unless we are root.
    """
    account = account_for_postgres()
    sockets.mkdir(parents=True, exist_ok=True)
    hand_over(sockets, account)
    opened = []
    if account is not None:
        installation = postgres_program("postgres").parents[1]
        let_read(installation)
        opened = [folder for path in (installation, sockets, data) for folder in let_through(path)]
    if (data / "PG_VERSION").exists():
        _refuse_foreign(data, account)
    elif data.exists() and any(data.iterdir()):
        raise StartError(
            f"{data} is neither empty nor a Postgres data folder.",
            advice="Move it away, or set NOCK_HOME to another folder.",
        )
    else:
        _make_data_folder(data, account)
    return opened


def _make_data_folder(data: Path, account: Account | None) -> None:
    """Under another name first: a start that is killed in the middle leaves nothing that looks whole."""
    half_made = data.with_name(data.name + ".half-made")
    if half_made.exists():
        shutil.rmtree(half_made)
    half_made.mkdir(parents=True, mode=0o700)
    hand_over(half_made, account)
    made = subprocess.run(
        [
            *(str(postgres_program("initdb")), "-D", str(half_made), "-U", SUPERUSER, "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ],
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else [],
        cwd="/",
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        raise StartError(
            f"Postgres could not make its data folder {data}: {made.stderr.strip()[-600:]}",
            advice="Check the free space and the permissions there.",
        )
    if data.exists():
        data.rmdir()
    half_made.rename(data)


def _refuse_foreign(data: Path, account: Account | None) -> None:
    owner = data.stat().st_uid
    expected = os.geteuid() if account is None else account.pw_uid
    if owner != expected:
        raise StartError(
            f"{data} belongs to user {owner}, and Postgres would run as user {expected}.",
            advice="Start Nock as the user that started it first, or set NOCK_HOME to another folder.",
        )
    version = (data / "PG_VERSION").read_text().strip()
    if version != VERSION:
        raise StartError(
            f"{data} was made by PostgreSQL {version}; this one is {VERSION}.",
            advice="Move it away, set NOCK_HOME to another folder, or name a Postgres of yours in NOCK_DATABASE_URL.",
        )


def url(sockets: Path, database: str = DATABASE) -> str:
    """The address, as SQLAlchemy writes it."""
    return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={quote(str(sockets), safe='/')}"


def answers(sockets: Path) -> bool:
    """Whether the server takes queries now."""
    try:
        with psycopg.connect(host=str(sockets), user=SUPERUSER, dbname="postgres", connect_timeout=2) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def create_database(sockets: Path, name: str = DATABASE) -> None:
    """Make a database unless it is there."""
    with psycopg.connect(host=str(sockets), user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        found = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
        if found is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))

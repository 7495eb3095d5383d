"""Postgres gets an account of its own where we are root, and touches nobody else's data."""

import os
import stat
from pathlib import Path

import pytest

from cli.up import embedded_postgres
from cli.up.errors import StartError
from cli.up.postgres_account import let_through


def test_folders_above_are_opened_for_passing_only_and_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "deep").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "deep").chmod(0o755)
    assert closed in let_through(closed / "deep" / "data")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    assert let_through(closed / "deep" / "data") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has no other account to make data for")
def test_root_makes_data_that_is_not_roots(state_folder: Path) -> None:
    embedded_postgres.prepare(state_folder / "data", state_folder / "sockets")
    assert (state_folder / "data").stat().st_uid != 0
    assert stat.S_IMODE((state_folder / "data").stat().st_mode) == 0o700


def test_a_folder_with_something_else_in_it_is_left_alone(state_folder: Path) -> None:
    (state_folder / "data").mkdir()
    (state_folder / "data" / "letters").write_text("mine")
    with pytest.raises(StartError, match="neither empty nor a Postgres data folder"):
        embedded_postgres.prepare(state_folder / "data", state_folder / "sockets")
    assert (state_folder / "data" / "letters").read_text() == "mine"


def test_data_of_another_version_is_left_alone(state_folder: Path) -> None:
    embedded_postgres.prepare(state_folder / "data", state_folder / "sockets")
    (state_folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(StartError, match="made by PostgreSQL 15; this one is 18"):
        embedded_postgres.prepare(state_folder / "data", state_folder / "sockets")

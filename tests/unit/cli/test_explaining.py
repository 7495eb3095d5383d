"""What a failed start tells: the newest lines of the right log, and what to do."""

import errno
from pathlib import Path

import pytest

from cli.up.commands import _reported
from cli.up.errors import StartError
from cli.up.readiness import last_line, tail


def test_a_log_is_shown_from_the_last_start_on(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("--- nock up 2026-11-22 10:00:00 UTC\nold\n--- nock up 2026-11-22 11:00:00 UTC\none\n\ntwo\nthree\n")
    assert tail(log, lines=2) == ["two", "three"]
    assert tail(log, lines=9) == ["one", "two", "three"]
    log.write_text("no mark\nat all\n")
    assert tail(log, lines=9) == ["no mark", "at all"]
    assert last_line(tmp_path / "none.log") == ""


def test_a_failure_shows_its_log_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "engine.log").write_text("it broke [here]\n")
    with _reported():
        raise StartError("engine refused to start.", advice="Mend it.", log=tmp_path / "engine.log")
    told = capsys.readouterr().err
    assert "engine refused to start." in told
    assert "| it broke [here]" in told
    assert f"Log: {tmp_path / 'engine.log'}" in told
    assert "Mend it." in told


def test_a_full_disk_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    with _reported():
        raise OSError(errno.ENOSPC, "No space left on device", "/some/file")
    told = capsys.readouterr().err
    assert "The disk is full (/some/file)." in told
    assert "Make room" in told


def test_other_surprises_are_not_hidden() -> None:
    with pytest.raises(OSError, match="Input/output"), _reported():
        raise OSError(errno.EIO, "Input/output error")

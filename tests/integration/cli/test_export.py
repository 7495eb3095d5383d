"""`nock export` against the real database: read back as it was, gone on after a kill, refused with what to do."""

import asyncio
import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner, Result

from cli.export import exporting, reading
from cli.main import app
from core.domain.adapters import AdapterState
from core.domain.conversations import ConversationState, Grouping
from core.domain.episodes import EpisodeEnd
from core.domain.ids import Prefix, public
from core.domain.metrics import Metric, MetricKind
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_entry,
    create_episode,
    create_turn,
    reply_ids,
)
from tests.fixtures.compose import ROOT
from tests.fixtures.conversations import create_mixed
from tests.fixtures.killed_export import BATCH, PART

TABLES = ("conversations", "turns", "rewards", "versions")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setattr(reading, "BATCH", BATCH)
    monkeypatch.setattr(exporting, "PART", PART)
    monkeypatch.setenv("NOCK_DATABASE_URL", database_url)


async def nock(*arguments: object) -> Result:
    """The command in a thread, which has no event loop yet."""
    return await asyncio.to_thread(CliRunner().invoke, app, [str(each) for each in arguments])


async def export(out: Path, *options: object, agent: str = "demo") -> dict[str, Any]:
    done = await nock("export", "--agent", agent, "--out", out, *options)
    assert done.exit_code == 0, (done.output, done.exception)
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


def rows_of(out: Path, table: str) -> list[dict[str, Any]]:
    files = sorted((out / table).iterdir())
    rows: list[dict[str, Any]] = pa.concat_tables(map(pq.read_table, files)).to_pylist()
    return rows


def content_of(out: Path) -> dict[str, bytes]:
    return {f"{table}/{file.name}": file.read_bytes() for table in TABLES for file in (out / table).iterdir()}


async def test_everything_is_read_back_under_the_apis_names(database: Database, tmp_path: Path) -> None:
    metrics = [Metric("solved", MetricKind.BOOLEAN, weight=2.0), Metric("note", MetricKind.COMMENT)]
    agent = await create_agent(database, metrics=metrics)
    version = await create_adapter(database, agent, state=AdapterState.STABLE, path="/a/v1", sha256="ab")
    told = await create_conversation(
        database, agent, external_id="Größe/✓", end_user="アン", state=ConversationState.MATURED
    )
    episode = await create_episode(database, told, ended_by=EpisodeEnd.CLOSED)
    turns = [await create_turn(database, episode, say=f'{n} 🎯\n"x"', reply="naïve 答え") for n in range(2)]
    first = await create_entry(database, told, False, turn=turns[0], metric="solved")
    await create_entry(database, told, True, turn=turns[0], metric="solved", supersedes=first.id)
    await create_entry(database, told, 0.25)
    await create_entry(database, told, "très bien", metric="note", source="crm")
    silent = await create_conversation(database, agent)
    out = tmp_path / "out"
    manifest = await export(out, "--with-tokens")

    assert manifest["counts"] == {"versions": 2, "conversations": 2, "turns": 2, "rewards": 4}
    assert manifest["base_model"] == "tiny"
    shown, other = rows_of(out, "conversations")
    assert shown["conversation_id"] == public(Prefix.CONVERSATION, told.id)
    assert (shown["external_id"], shown["user"], shown["tags"]) == ("Größe/✓", "アン", "{}")
    assert (shown["agent"], shown["adapter"], shown["state"], shown["turns"]) == ("demo", "demo@v1", "matured", 2)
    assert shown["return"] == 2.25
    assert shown["opened_at"] == told.opened_at
    assert [one["ended_by"] for one in shown["episodes"]] == ["closed"]
    assert other["conversation_id"] == public(Prefix.CONVERSATION, silent.id)
    assert [other[name] for name in ("adapter", "user", "return", "closed_at")] == [None] * 4
    assert (other["state"], other["episodes"], other["turns"]) == ("open", [], 0)

    said = rows_of(out, "turns")
    assert [turn["turn_id"] for turn in said] == [public(Prefix.TURN, turn.id) for turn in turns]
    assert [turn["reward"] for turn in said] == [2.0, 0.25]
    assert json.loads(said[1]["messages"]) == [{"role": "user", "content": '1 🎯\n"x"'}]
    assert json.loads(said[1]["reply"]) == {"role": "assistant", "content": "naïve 答え"}
    assert (said[0]["reply_text"], said[0]["adapter"], said[0]["prompt_tokens"]) == ("naïve 答え", "demo@v1", None)
    assert said[0]["completion_token_ids"] == reply_ids("naïve 答え")
    assert said[1]["prompt_token_ids"][: len(said[0]["prompt_token_ids"])] == said[0]["prompt_token_ids"]
    assert said[0]["logprobs"] == pytest.approx([-0.6931472] * len(reply_ids("naïve 答え")))

    lines = rows_of(out, "rewards")
    assert [(line["value"], line["number"], line["stands"]) for line in lines] == [
        ("false", 0.0, False),
        ("true", 1.0, True),
        ("0.25", 0.25, True),
        ('"très bien"', None, True),
    ]
    assert lines[1]["supersedes"] == lines[0]["feedback_id"]
    assert (lines[2]["turn_id"], lines[3]["source"]) == (None, "crm")

    base, newer = rows_of(out, "versions")
    assert (base["adapter"], base["parent"], base["sha256"]) == ("demo@base", None, None)
    assert (newer["adapter"], newer["parent"], newer["state"]) == ("demo@v1", "demo@base", "stable")
    assert (newer["path"], newer["created_at"]) == ("/a/v1", version.created_at)


async def test_the_columns_have_the_types_that_the_page_names(database: Database, tmp_path: Path) -> None:
    await create_mixed(database, await create_agent(database), count=1)
    await export(tmp_path / "out", "--with-tokens")
    page = (ROOT / "docs" / "export.md").read_text()
    for table in TABLES:
        schema = pq.read_schema(tmp_path / "out" / table / "part-00000.parquet")
        for field in schema:
            assert f"`{field.name}`" in page, (table, field.name)
            if pa.types.is_timestamp(field.type):
                assert field.type == pa.timestamp("us", tz="UTC")
    turns = pq.read_schema(tmp_path / "out" / "turns" / "part-00000.parquet")
    assert turns.field("prompt_token_ids").type.value_type == pa.int32()
    assert turns.field("logprobs").type.value_type == pa.float32()


async def test_a_manifest_names_every_file_with_its_checksum_and_the_database_remembers(
    database: Database, tmp_path: Path
) -> None:
    agent = await create_agent(database)
    await create_mixed(database, agent, count=9)
    out = tmp_path / "out"
    manifest = await export(out)
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == {
        path: sha256(content).hexdigest() for path, content in content_of(out).items()
    }
    assert [file["rows"] for file in manifest["files"] if file["path"].startswith("conversations")] == [4, 4, 1]
    assert {path.name for path in out.iterdir()} == {"manifest.json", *TABLES}
    async with database.transaction() as session:
        (record,) = (await session.scalars(select(models.Export))).all()
    assert public(Prefix.EXPORT, record.id) == manifest["export_id"]
    assert record.agent_id == agent.id
    assert record.place.endswith(str(out))
    assert record.ended_at is not None
    assert record.counts == manifest["counts"]
    assert record.manifest_sha256 == sha256((out / "manifest.json").read_bytes()).hexdigest()


async def test_an_agent_without_conversations_has_files_with_columns_and_no_rows(
    database: Database, tmp_path: Path
) -> None:
    await create_agent(database)
    manifest = await export(tmp_path / "out")
    assert manifest["counts"] == {"versions": 1, "conversations": 0, "turns": 0, "rewards": 0}
    assert [rows_of(tmp_path / "out", table) for table in TABLES[:3]] == [[], [], []]


async def test_only_the_agents_own_conversations_of_the_time_are_there(database: Database, tmp_path: Path) -> None:
    agent, other = await create_agent(database), await create_agent(database, "other")
    await create_mixed(database, other, count=3)
    told = await create_mixed(database, agent, count=3)
    async with database.transaction() as session:
        for days, one in enumerate(told):
            at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=days)
            await session.execute(
                text("UPDATE conversations SET opened_at = :at WHERE id = :id"), {"at": at, "id": one.id}
            )
    for options, expected in (
        (["--since", "2026-11-02"], told[1:]),
        (["--until", "2026-11-02T00:00:00Z"], told[:1]),
        (["--since", "2026-11-01T01:00:00+01:00", "--until", "2026-11-03"], told[:2]),
        (["--since", "2026-11-04"], []),
    ):
        out = tmp_path / "-".join(options).replace(":", "")
        await export(out, *options)
        found = [row["conversation_id"] for row in rows_of(out, "conversations")]
        assert found == [public(Prefix.CONVERSATION, one.id) for one in expected]


@pytest.mark.parametrize("where", ["batch 1", "batch 4", "rename 1", "rename 2", "rename 4", "rename 5", "rename 12"])
async def test_killed_anywhere_it_goes_on_and_its_files_are_those_of_an_undisturbed_run(
    database: Database, tmp_path: Path, where: str
) -> None:
    agent = await create_agent(database)
    told = await create_mixed(database, agent, count=10)
    whole = await export(tmp_path / "whole", "--with-tokens")
    out, (place, count) = tmp_path / "out", where.split()
    command = [sys.executable, "-m", "tests.fixtures.killed_export", place, count]
    command += ["export", "--agent", "demo", "--out", str(out), "--with-tokens"]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert not (out / "manifest.json").exists()
    await create_entry(database, told[9], 100.0)  # what is said meanwhile came after the snapshot
    await create_mixed(database, agent, count=1)
    again = await export(out, "--with-tokens")
    assert content_of(out) == content_of(tmp_path / "whole")
    assert again["counts"] == whole["counts"]
    assert {path.name for path in out.iterdir()} == {"manifest.json", *TABLES}
    async with database.transaction() as session:
        records = (await session.scalars(select(models.Export))).all()
    assert [record.ended_at is None for record in records] == [False] * len(records)


async def test_killed_before_the_end_is_recorded_it_records_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_mixed(database, await create_agent(database), count=3)
    out = tmp_path / "out"

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("core.storage.repositories.exports.end_export", die)
        stopped = await nock("export", "--agent", "demo", "--out", out)
    assert (stopped.exit_code, "goes on where this one stopped" in stopped.output) == (1, True)
    before = content_of(out)
    await export(out)
    assert content_of(out) == before
    async with database.transaction() as session:
        (record,) = (await session.scalars(select(models.Export))).all()
    assert record.manifest_sha256 == sha256((out / "manifest.json").read_bytes()).hexdigest()


async def test_a_part_that_was_damaged_meanwhile_is_written_again(database: Database, tmp_path: Path) -> None:
    await create_mixed(database, await create_agent(database), count=10)
    whole, out = tmp_path / "whole", tmp_path / "out"
    await export(whole)
    command = [sys.executable, "-m", "tests.fixtures.killed_export", "batch", "5"]
    command += ["export", "--agent", "demo", "--out", str(out)]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True)
    part = out / "turns" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    done = await nock("export", "--agent", "demo", "--out", out)
    assert "written again" in done.output
    assert content_of(out) == content_of(whole)


async def test_what_is_not_committed_when_it_begins_is_not_in_it(database: Database, tmp_path: Path) -> None:
    agent = await create_agent(database)
    (early,) = await create_mixed(database, agent, count=1)
    async with database.transaction() as session:
        late = models.Conversation(agent_id=agent.id, key_id=agent.id, tags={}, grouped=Grouping.NEW)
        session.add(late)
        await session.flush()
        await create_mixed(database, agent, count=1)  # began later and is there, but something earlier is not
        manifest = await export(tmp_path / "out")
    assert [row["conversation_id"] for row in rows_of(tmp_path / "out", "conversations")] == [
        public(Prefix.CONVERSATION, early.id)
    ]
    assert datetime.fromisoformat(manifest["snapshot_at"]) == late.opened_at


async def test_no_batch_is_larger_than_it_may_be(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_mixed(database, await create_agent(database), count=7)
    sizes: list[int] = []
    read_batch = exporting.read_batch

    async def watched(*given: Any) -> Any:
        batch = await read_batch(*given)
        sizes.append(0 if batch is None else batch.conversations)
        return batch

    monkeypatch.setattr(exporting, "read_batch", watched)
    await export(tmp_path / "out")
    assert sizes == [2, 2, 2, 1, 0]
    groups = pq.ParquetFile(tmp_path / "out" / "conversations" / "part-00000.parquet").num_row_groups
    assert groups == 2


async def test_other_options_do_not_go_on_with_what_was_begun(database: Database, tmp_path: Path) -> None:
    await create_agent(database)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.fixtures.killed_export", "batch", "1"]
    command += ["export", "--agent", "demo", "--out", str(out)]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True)
    refused = await nock("export", "--agent", "demo", "--out", out, "--with-tokens")
    assert refused.exit_code == 1
    assert "go on with the same options" in refused.output
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM exports"))
    refused = await nock("export", "--agent", "demo", "--out", out)
    assert "begun with another database" in " ".join(refused.output.split())


async def test_what_cannot_be_done_is_said_with_what_to_do(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_agent(database)
    mine, done = tmp_path / "mine", tmp_path / "done"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    await export(done)
    for agent, out, options, told in (
        ("nobody", tmp_path / "new", [], "There are: demo."),
        ("demo", mine, [], "is not empty and holds no export: name another folder"),
        ("demo", mine / "letter.txt", [], "is no folder"),
        ("demo", done, [], "holds a finished export: name another folder"),
        ("demo", tmp_path / "new", ["--since", "yesterday"], "is no time"),
        ("demo", tmp_path / "new", ["--since", "2026-11-02", "--until", "2026-11-01"], "is not before"),
    ):
        refused = await nock("export", "--agent", agent, "--out", out, *options)
        assert refused.exit_code != 0
        assert told in " ".join(refused.output.replace("│", " ").split()), refused.output
    assert (mine / "letter.txt").read_text() == "dear"
    monkeypatch.setenv("NOCK_DATABASE_URL", "postgresql+psycopg://nock:hush@127.0.0.1:9/nock")
    away = await nock("export", "--agent", "demo", "--out", tmp_path / "new")
    assert "The database does not answer" in away.output
    assert "hush" not in away.output


async def test_a_full_disk_is_said_and_the_export_goes_on_when_there_is_room(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await create_mixed(database, await create_agent(database), count=9)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cli.main", "export", "--agent", "demo", "--out", str(out)]

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    full = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env=os.environ | {"NOCK_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        preexec_fn=fill,
    )
    assert full.returncode == 1
    assert "cannot be written" in full.stderr
    assert "Traceback" not in full.stderr
    assert not [path for path in out.rglob("*") if path.name.endswith(".new")]
    assert (await export(out))["counts"]["conversations"] == 9

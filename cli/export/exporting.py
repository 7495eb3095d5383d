"""Export an agent's conversations: begin or go on, part by part, the manifest last; the database knows throughout."""

import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from cli.export import schemas
from cli.export.files import sha256_of, write_json
from cli.export.folder import ExportError, Folder, Progress, opened
from cli.export.parts import PartFile, written_part
from cli.export.reading import BATCH, Scope, read_batch, read_versions
from core.domain.ids import Prefix, new_id, parse, public
from core.domain.metrics import Metric
from core.storage.database import Database, connect
from core.storage.models import Export
from core.storage.repositories import agents, clock, conversations, exports

PART = 20 * BATCH
"""Conversations; what a killed export does again at most."""

METRICS = TypeAdapter(list[Metric])

Json = dict[str, Any]
Tell = Callable[[int, int], None]
"""Takes how many conversations are written, and of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say."""

    agent: str
    since: datetime | None
    until: datetime | None
    with_tokens: bool

    def as_json(self) -> Json:
        return {
            "schema_version": schemas.VERSION,
            "agent": self.agent,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "with_tokens": self.with_tokens,
        }


async def export(address: str, asked: Asked, path: Path, *, tell: Tell, note: Callable[[str], None]) -> Json:
    """Write the whole export, or what is missing of it; gives back its manifest.

    ExportError says what keeps it from being written into this folder or from being written at all.
    """
    engine = connect(address, pool_size=1)
    try:
        with opened(path) as folder:
            database = Database(engine)
            progress = folder.read(asked.as_json())
            if progress is None:
                progress = await _begin(database, folder, asked)
            elif dropped := folder.forget_damaged(progress):
                note(f"{dropped} parts are not as they were written, and are written again.")
            record = await _record_of(database, folder, progress)
            await _write_parts(database, folder, progress, _scope(record, asked, progress), tell)
            return await _finish(database, folder, progress, record)
    finally:
        await engine.dispose()


async def _begin(database: Database, folder: Folder, asked: Asked) -> Progress:
    """Fix what all parts must agree on. The record comes before the first file."""
    async with database.transaction() as session:
        agent = await agents.find_agent(session, asked.agent)
        if agent is None:
            names = ", ".join(sorted((await agents.list_names(session)).values()))
            raise ExportError(f"There is no agent {asked.agent!r}. There are: {names or 'none'}.")
        moment = await clock.settled_until(session)
        metrics = await agents.list_metrics(session, agent.id)
        record = Export(
            id=new_id(),
            agent_id=agent.id,
            place=f"{socket.gethostname()}:{folder.path}",
            since=asked.since,
            until=asked.until,
            snapshot_at=moment,
            with_tokens=asked.with_tokens,
        )
        await exports.add_export(session, record)
    facts = asked.as_json() | {
        "export_id": public(Prefix.EXPORT, record.id),
        "snapshot_at": moment.astimezone(UTC).isoformat(),
        "nock_version": version("nock"),
        "base_model": agent.base_model,
        "metrics": METRICS.dump_python(metrics, mode="json"),
    }
    progress = Progress(facts)
    folder.write(progress)
    return progress


async def _record_of(database: Database, folder: Folder, progress: Progress) -> Export:
    export_id = parse(Prefix.EXPORT, progress.facts["export_id"])
    async with database.transaction() as session:
        record = await exports.find_export(session, export_id) if export_id else None
    if record is None:
        raise ExportError(f"{folder.path} was begun with another database: name that one, or another folder.")
    return record


def _scope(record: Export, asked: Asked, progress: Progress) -> Scope:
    moment = record.snapshot_at
    return Scope(
        agent_id=record.agent_id,
        agent=asked.agent,
        since=asked.since,
        before=moment if asked.until is None else min(asked.until, moment),
        moment=moment,
        metrics=METRICS.validate_python(progress.facts["metrics"]),
        with_tokens=asked.with_tokens,
    )


async def _write_parts(database: Database, folder: Folder, progress: Progress, scope: Scope, tell: Tell) -> None:
    if not progress.parts:
        async with database.transaction() as session:
            versions = await read_versions(session, scope)
        _add_part(folder, progress, None, _written(folder, {"versions": versions}))
    async with database.transaction() as session:
        total = await conversations.count_opened(session, scope.agent_id, since=scope.since, before=scope.before)
    done = _counts(progress.files).get("conversations", 0)
    tell(done, total)
    kinds = schemas.of_conversations(with_tokens=scope.with_tokens)
    last = parse(Prefix.CONVERSATION, progress.last) if progress.last else None
    batch = await read_batch(database, scope, last)
    # An agent without conversations has one part too: readers find the columns there.
    while batch is not None or len(progress.parts) == 1:
        with written_part(folder.path, len(progress.parts) - 1, kinds) as part:
            while batch is not None and part.rows["conversations"] < PART:
                part.write(batch.tables)
                done, last = done + batch.conversations, batch.last
                tell(done, total)
                batch = await read_batch(database, scope, last)
        _add_part(folder, progress, None if last is None else public(Prefix.CONVERSATION, last), part.files)


def _written(folder: Folder, tables: dict[str, pa.Table]) -> list[PartFile]:
    with written_part(folder.path, 0, {name: table.schema for name, table in tables.items()}) as part:
        part.write(tables)
    return part.files


def _add_part(folder: Folder, progress: Progress, last: str | None, files: list[PartFile]) -> None:
    progress.parts.append({"last": last, "files": [asdict(file) for file in files]})
    folder.write(progress)


async def _finish(database: Database, folder: Folder, progress: Progress, record: Export) -> Json:
    """The manifest last, and only then the end in the record: whoever finds one can trust the files."""
    files, counts = progress.files, _counts(progress.files)
    manifest = progress.facts | {"counts": counts, "files": [asdict(file) for file in files]}
    write_json(folder.manifest, manifest)
    async with database.transaction() as session:
        session.add(record)
        await exports.end_export(session, record, counts, sha256_of(folder.manifest))
    folder.end(files)
    return manifest


def _counts(files: list[PartFile]) -> dict[str, int]:
    """Rows by table."""
    counts: dict[str, int] = {}
    for file in files:
        table = file.path.split("/")[0]
        counts[table] = counts.get(table, 0) + file.rows
    return counts

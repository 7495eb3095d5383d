"""Read an agent's rows batch by batch, as Arrow tables; a batch is what lies in memory at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import pyarrow as pa
from sqlalchemy.ext.asyncio import AsyncSession

from cli.export import rows, schemas
from core.domain.metrics import Metric
from core.outcomes.looking_back import Account, accounts_of
from core.storage.database import Database
from core.storage.repositories import adapters, conversations
from core.storage.repositories.tokens import read_tokens

BATCH = 200
"""Conversations; a part holds a whole number of batches, so that its row groups are the same whenever it is written."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose conversations, of when, as of when, and by which metrics."""

    agent_id: UUID
    agent: str
    since: datetime | None
    before: datetime
    moment: datetime
    metrics: Sequence[Metric]
    with_tokens: bool


@dataclass(frozen=True, slots=True)
class Batch:
    last: UUID
    tables: dict[str, pa.Table]

    @property
    def conversations(self) -> int:
        return int(self.tables["conversations"].num_rows)


async def read_batch(database: Database, scope: Scope, after: UUID | None) -> Batch | None:
    """The next conversations with all that belongs to them, None behind the last one."""
    async with database.transaction() as session:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        told = await conversations.list_opened(
            session, scope.agent_id, since=scope.since, before=scope.before, after=after, limit=BATCH
        )
        if not told:
            return None
        accounts = await accounts_of(session, told, scope.metrics, scope.moment)
        versions = {episode.adapter_id for account in accounts for episode in account.episodes}
        names = await adapters.names_of(session, versions)
        kinds = schemas.of_conversations(with_tokens=scope.with_tokens)
        shown = [rows.conversation_row(account, scope.agent, names) for account in accounts]
        said = [line for account in accounts for line in rows.reward_rows(account)]
        tables = {
            "conversations": pa.Table.from_pylist(shown, schema=kinds["conversations"]),
            "turns": await _turns(session, accounts, names, kinds["turns"], with_tokens=scope.with_tokens),
            "rewards": pa.Table.from_pylist(said, schema=kinds["rewards"]),
        }
    return Batch(told[-1].id, tables)


async def _turns(
    session: AsyncSession, accounts: Sequence[Account], names: rows.Names, schema: pa.Schema, *, with_tokens: bool
) -> pa.Table:
    """One conversation after the other: as Python numbers the tokens of a whole batch would take ten times the room."""
    batches = []
    for account in accounts:
        tokens = await read_tokens(session, [turn.id for turn in account.turns]) if with_tokens else {}
        batches.append(pa.RecordBatch.from_pylist(rows.turn_rows(account, names, tokens), schema=schema))
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


async def read_versions(session: AsyncSession, scope: Scope) -> pa.Table:
    versions = await adapters.list_versions(session, scope.agent_id)
    known = [version for version in versions if version.created_at < scope.moment]
    return pa.Table.from_pylist(rows.version_rows(known, scope.agent), schema=schemas.VERSIONS)

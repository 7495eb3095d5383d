"""Open conversations with their first episodes, many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncCursor

from core.domain.conversations import Grouping
from core.domain.episodes import Arm
from core.storage.turn_log.connections import Connections, as_json


@dataclass(frozen=True, slots=True)
class Opening:
    """A new conversation and its first episode. `tombstone` is what an erased one of its name left."""

    conversation_id: UUID
    agent_id: UUID
    name: str | None
    tombstone: bytes | None
    end_user: str | None
    key_id: UUID
    tags: dict[str, Any]
    grouped: Grouping
    episode_id: UUID
    adapter_id: UUID
    arm: Arm
    propensity: float
    canary_id: UUID | None


OPEN = """
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given(
        conversation_id uuid, agent_id uuid, name text, end_user text, key_id uuid, tags jsonb, grouped text,
        episode_id uuid, adapter_id uuid, arm text, propensity float8, canary_id uuid
    )
), usable AS MATERIALIZED (
    SELECT id, state FROM adapter_versions
    WHERE id IN (SELECT adapter_id FROM given) AND state <> 'rejected' AND taught_by_erased IS DISTINCT FROM 'retire'
    FOR KEY SHARE
), opened AS (
    INSERT INTO conversations (id, agent_id, external_id, end_user, key_id, tags, state, grouped)
    SELECT conversation_id, agent_id, name, end_user, key_id, tags, 'open', grouped
    FROM given JOIN usable ON usable.id = given.adapter_id
    WHERE arm <> 'canary' OR usable.state IN ('canary', 'stable')
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO episodes (id, agent_id, conversation_id, ordinal, adapter_id, arm, propensity, canary_id, turn_count)
SELECT episode_id, agent_id, conversation_id, 0, adapter_id, arm, propensity, canary_id, 0
FROM given JOIN opened ON opened.id = given.conversation_id
RETURNING conversation_id
"""
"""A version is locked before anything is opened on it: whoever is taking it out is waited for, and then seen."""

TAKE_BACK = """
WITH erased AS (
    SELECT conversation_id FROM json_to_recordset(%s) AS given(conversation_id uuid, tombstone bytea)
    WHERE EXISTS (SELECT FROM tombstones WHERE hash = given.tombstone)
), episode AS (
    DELETE FROM episodes WHERE conversation_id IN (SELECT conversation_id FROM erased)
)
DELETE FROM conversations WHERE id IN (SELECT conversation_id FROM erased) RETURNING id
"""


async def open_all(connections: Connections, openings: Sequence[Opening]) -> list[bool]:
    """Whether each was opened, in order. Those that were not need a closer look: another request took the name, the
    version was taken out meanwhile, or the name was erased.

    The commit need not wait for the disk. Until a turn is written nobody was answered, and a turn's commit, which does
    wait, takes all that was committed before it to the disk with it.
    """
    named = [one for one in openings if one.tombstone is not None]

    async def ask(cursor: AsyncCursor) -> list[bool]:
        opened = await _open_named(cursor, openings, named) if named else await _open(cursor, openings)
        return [one.conversation_id in opened for one in openings]

    return await connections.run(ask)


async def _open(cursor: AsyncCursor, openings: Sequence[Opening]) -> set[UUID]:
    await cursor.execute(OPEN, as_json(openings))
    return await _conversations(cursor)


async def _open_named(cursor: AsyncCursor, openings: Sequence[Opening], named: Sequence[Opening]) -> set[UUID]:
    """The same, less those whose names were erased.

    These are looked for after the insert: an erasure that the insert had to wait for has left its tombstone. Both
    statements travel together, and Postgres commits what came before the end of a pipeline as one transaction.
    """
    taking_back = cursor.connection.cursor(binary=True)
    async with cursor.connection.pipeline():
        await cursor.execute(OPEN, as_json(openings))
        await taking_back.execute(TAKE_BACK, as_json(named))
    return await _conversations(cursor) - await _conversations(taking_back)


async def _conversations(cursor: AsyncCursor) -> set[UUID]:
    return {conversation for (conversation,) in await cursor.fetchall()}

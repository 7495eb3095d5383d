"""Write finished turns with their tokens, many in one commit: each at its place, or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncCursor

from core.domain.conversations import Message
from core.domain.sampling import Learnable
from core.storage.turn_log.connections import Connections, as_json


@dataclass(frozen=True, slots=True)
class Finished:
    """A row of `turns` and its row of `turn_tokens`; `turn_count` is the episode's before it."""

    turn_id: UUID
    turn_count: int
    agent_id: UUID
    conversation_id: UUID
    episode_id: UUID
    turn_index: int
    messages: list[Message]
    reply: Message
    finish_reason: str
    usage: dict[str, Any]
    sampling: dict[str, Any]
    learnable: Learnable
    learnable_reason: str | None
    previous_head: bytes
    request_hash: bytes
    head_hash: bytes
    engine_seconds: float
    first_token_seconds: float | None
    prefix_turn_id: UUID | None
    prefix_length: int
    prompt_tail: bytes
    completion: bytes
    logprobs: bytes
    checksum: int


WRITE = """
WITH given AS (
    SELECT * FROM json_to_recordset(%s) AS given(
        turn_id uuid, turn_count int, agent_id uuid, conversation_id uuid, episode_id uuid, turn_index int,
        messages jsonb, reply jsonb, finish_reason text, usage jsonb, sampling jsonb, learnable text,
        learnable_reason text, previous_head bytea, request_hash bytea, head_hash bytea, engine_seconds float8,
        first_token_seconds float8, prefix_turn_id uuid, prefix_length int, prompt_tail bytea, completion bytea,
        logprobs bytea, checksum int
    )
), locked AS MATERIALIZED (
    SELECT id FROM conversations WHERE id IN (SELECT conversation_id FROM given) FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE episodes SET turn_count = episodes.turn_count + 1
    FROM given JOIN locked ON locked.id = given.conversation_id
    WHERE episodes.id = given.episode_id AND episodes.turn_count = given.turn_count
    RETURNING given.*
), spoken AS (
    INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage,
                       sampling, learnable, learnable_reason, previous_head, request_hash, head_hash, engine_seconds,
                       first_token_seconds)
    SELECT turn_id, agent_id, conversation_id, episode_id, turn_index, messages, reply, finish_reason,
           usage, sampling, learnable, learnable_reason, previous_head, request_hash, head_hash,
           engine_seconds, first_token_seconds
    FROM claimed
), sampled AS (
    INSERT INTO turn_tokens (turn_id, prefix_turn_id, prefix_length, prompt_tail, completion, logprobs, checksum)
    SELECT turn_id, prefix_turn_id, prefix_length, prompt_tail, completion, logprobs, checksum FROM claimed
)
UPDATE conversations SET head_hash = claimed.head_hash, last_turn_at = clock_timestamp()
FROM claimed WHERE conversations.id = claimed.conversation_id
RETURNING claimed.turn_id
"""
"""A conversation that somebody else is changing is not waited for, since all the others' turns would wait with it: its
turn comes back unwritten. Which of two turns for one place gets it, the update of the episode decides; the other comes
back unwritten too."""

WRITTEN = "SELECT id FROM turns WHERE id = ANY(%b)"


async def write(cursor: AsyncCursor, turns: Sequence[Finished]) -> list[bool]:
    """Whether each was written at its place, in order. For who has a transaction open."""
    await cursor.execute(WRITE, as_json(turns))
    written = {turn for (turn,) in await cursor.fetchall()}
    return [turn.turn_id in written for turn in turns]


async def write_all(connections: Connections, turns: Sequence[Finished]) -> list[bool]:
    """The same in a transaction of its own, durable when this returns."""
    tried = False

    async def ask(cursor: AsyncCursor) -> list[bool]:
        nonlocal tried
        if not tried:
            tried = True
            return await write(cursor, turns)
        # The connection broke, and perhaps only after the commit.
        await cursor.execute(WRITTEN, [[turn.turn_id for turn in turns]])
        there = {turn for (turn,) in await cursor.fetchall()}
        due = [turn for turn in turns if turn.turn_id not in there]
        there |= (
            {turn.turn_id for turn, done in zip(due, await write(cursor, due), strict=True) if done} if due else set()
        )
        return [turn.turn_id in there for turn in turns]

    return await connections.run(ask)

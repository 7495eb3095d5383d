"""Write finished turns with their tokens, many in one commit: each at its place, or not at all."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncCursor

from core.domain.sampling import Learnable
from core.storage.turn_log.connections import Connections, columns_of, with_cursor


class Finished(NamedTuple):
    """A row of `turns` and its row of `turn_tokens`; what is JSON there is text here. `turn_count` is the episode's
    before it."""

    turn_id: UUID
    turn_count: int
    agent_id: UUID
    conversation_id: UUID
    episode_id: UUID
    turn_index: int
    messages: str
    reply: str
    finish_reason: str
    usage: str
    sampling: str
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
    SELECT * FROM unnest(
        %b::uuid[], %b::int[], %b::uuid[], %b::uuid[], %b::uuid[], %b::int[], %b::text[], %b::text[], %b::text[],
        %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[], %b::bytea[], %b::float8[],
        %b::float8[], %b::uuid[], %b::int[], %b::bytea[], %b::bytea[], %b::bytea[], %b::int[]
    ) AS given(turn_id, turn_count, agent_id, conversation_id, episode_id, turn_index, messages, reply, finish_reason,
               usage, sampling, learnable, learnable_reason, previous_head, request_hash, head_hash, engine_seconds,
               first_token_seconds, prefix_turn_id, prefix_length, prompt_tail, completion, logprobs, checksum)
), locked AS MATERIALIZED (
    SELECT id FROM conversations WHERE id IN (SELECT conversation_id FROM given) ORDER BY id FOR UPDATE
), claimed AS (
    UPDATE episodes SET turn_count = episodes.turn_count + 1
    FROM given JOIN locked ON locked.id = given.conversation_id
    WHERE episodes.id = given.episode_id AND episodes.turn_count = given.turn_count
    RETURNING given.*
), spoken AS (
    INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage,
                       sampling, learnable, learnable_reason, previous_head, request_hash, head_hash, engine_seconds,
                       first_token_seconds)
    SELECT turn_id, agent_id, conversation_id, episode_id, turn_index, messages::jsonb, reply::jsonb, finish_reason,
           usage::jsonb, sampling::jsonb, learnable, learnable_reason, previous_head, request_hash, head_hash,
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
"""Rows are locked in the order of their ids, so that two such statements never wait for each other in a ring. Which of
two turns for one place gets it, the update of the episode decides; the other comes back unwritten."""

WRITTEN = "SELECT id FROM turns WHERE id = ANY(%b)"


async def write(cursor: AsyncCursor, turns: Sequence[Finished]) -> list[bool]:
    """Whether each was written at its place, in order. For who has a transaction open."""
    await cursor.execute(WRITE, columns_of(turns))
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

    return await with_cursor(connections, ask)

"""Find the conversations that requests belong to, many at once and without a lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from psycopg import AsyncCursor

from core.domain.conversations import ConversationState
from core.domain.episodes import Arm
from core.storage.turn_log.connections import Connections, as_json, with_cursor


@dataclass(frozen=True, slots=True)
class Sought:
    """A conversation by the service's id, by the client's, or by the head that it ends in; the other two are None."""

    agent_id: UUID
    conversation_id: UUID | None = None
    name: str | None = None
    head: bytes | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation, its newest episode and its newest turn, as of one moment."""

    conversation_id: UUID
    agent_id: UUID
    state: ConversationState
    head: bytes | None
    silent: timedelta
    """How long nothing was said."""
    episode_id: UUID | None
    has_ended: bool
    arm: Arm | None
    adapter_number: int | None
    turn_count: int
    last_index: int


@dataclass(frozen=True, slots=True)
class Finding:
    """At most two conversations: more than one can only be told apart by a person."""

    conversations: Sequence[Found]
    is_continued: bool
    """Whether a turn once continued the head: then the request is a retry or a branch."""


FIND = """
SELECT given.place, found.id, found.agent_id, found.state, found.head_hash, now() - found.last_turn_at,
       episode.id, episode.ended_at IS NOT NULL, episode.arm, version.number, coalesce(episode.turn_count, 0),
       coalesce(last.index, -1)
FROM ROWS FROM (json_to_recordset(%s) AS (agent_id uuid, conversation_id uuid, name text, head bytea))
     WITH ORDINALITY AS given(agent_id, conversation_id, name, head, place)
CROSS JOIN LATERAL (
    SELECT * FROM conversations WHERE id = given.conversation_id
    UNION ALL
    SELECT * FROM conversations WHERE agent_id = given.agent_id AND external_id = given.name
    UNION ALL
    (SELECT * FROM conversations WHERE agent_id = given.agent_id AND head_hash = given.head LIMIT 2)
) AS found
LEFT JOIN LATERAL (
    SELECT * FROM episodes WHERE conversation_id = found.id ORDER BY ordinal DESC LIMIT 1
) AS episode ON true
LEFT JOIN adapter_versions AS version ON version.id = episode.adapter_id
LEFT JOIN LATERAL (
    SELECT index FROM turns WHERE conversation_id = found.id ORDER BY index DESC, id DESC LIMIT 1
) AS last ON true
"""

CONTINUED = """
SELECT given.place FROM json_to_recordset(%s) AS given(agent_id uuid, head bytea, place int)
WHERE EXISTS (SELECT FROM turns WHERE turns.agent_id = given.agent_id AND previous_head = given.head)
"""


async def find(connections: Connections, sought: Sequence[Sought]) -> list[Finding]:
    """What there is of each, in order."""

    async def ask(cursor: AsyncCursor) -> list[Finding]:
        await cursor.execute(FIND, as_json(sought))
        found: list[list[Found]] = [[] for _ in sought]
        for place, conversation, agent, state, head, silent, episode, ended, arm, *numbers in await cursor.fetchall():
            found[place - 1].append(
                Found(
                    conversation,
                    agent,
                    ConversationState(state),
                    head,
                    silent,
                    episode,
                    ended,
                    None if arm is None else Arm(arm),
                    *numbers,
                )
            )
        lost = [
            {"agent_id": one.agent_id, "head": one.head, "place": i}
            for i, one in enumerate(sought)
            if one.head is not None and not found[i]
        ]
        continued: set[int] = set()
        if lost:
            await cursor.execute(CONTINUED, as_json(lost))
            continued = {place for (place,) in await cursor.fetchall()}
        return [Finding(some, i in continued) for i, some in enumerate(found)]

    return await with_cursor(connections, ask)

"""Find the conversations that requests belong to, many at once and without a lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncCursor

from core.domain.conversations import ConversationState
from core.domain.episodes import Arm
from core.storage.turn_log.connections import Connections, as_json


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


PLACE = """
SELECT given.place, found.id, found.agent_id, found.state, found.head_hash, now() - found.last_turn_at,
       episode.id, episode.ended_at IS NOT NULL, episode.arm, version.number, coalesce(episode.turn_count, 0),
       coalesce(last.index, -1)
FROM json_to_recordset(%s) AS given(place int, agent_id uuid, conversation_id uuid, name text, head bytea)
CROSS JOIN LATERAL ({conversations}) AS found
LEFT JOIN LATERAL (
    SELECT * FROM episodes WHERE conversation_id = found.id ORDER BY ordinal DESC LIMIT 1
) AS episode ON true
LEFT JOIN adapter_versions AS version ON version.id = episode.adapter_id
LEFT JOIN LATERAL (SELECT index FROM turns WHERE conversation_id = found.id ORDER BY index DESC LIMIT 1) AS last ON true
"""
BY_NAME = PLACE.format(
    conversations="""
    SELECT * FROM conversations WHERE external_id = given.name AND agent_id IS NOT DISTINCT FROM given.agent_id
    """
)
BY_ID = PLACE.format(conversations="SELECT * FROM conversations WHERE id = given.conversation_id")
BY_HEAD = PLACE.format(
    conversations="""
    SELECT * FROM conversations WHERE head_hash = given.head AND agent_id IS NOT DISTINCT FROM given.agent_id LIMIT 2
    """
)
"""`IS NOT DISTINCT FROM` is for no index: a plan must look by what is rare, never through all that an agent has."""

CONTINUED = """
SELECT given.place FROM json_to_recordset(%s) AS given(place int, agent_id uuid, head bytea)
WHERE EXISTS (
    SELECT FROM turns WHERE previous_head = given.head AND turns.agent_id IS NOT DISTINCT FROM given.agent_id
)
"""


async def find(connections: Connections, sought: Sequence[Sought]) -> list[Finding]:
    """What there is of each, in order."""

    given: list[dict[str, Any]] = [
        {
            "place": place,
            "agent_id": one.agent_id,
            "conversation_id": one.conversation_id,
            "name": one.name,
            "head": one.head,
        }
        for place, one in enumerate(sought)
    ]

    async def ask(cursor: AsyncCursor) -> list[Finding]:
        found: list[list[Found]] = [[] for _ in sought]
        for statement, key in ((BY_NAME, "name"), (BY_ID, "conversation_id"), (BY_HEAD, "head")):
            if some := [one for one in given if one[key] is not None]:
                await cursor.execute(statement, as_json(some))
                for place, *row in await cursor.fetchall():
                    found[place].append(_found(*row))
        continued: set[int] = set()
        if lost := [one for one in given if one["head"] is not None and not found[one["place"]]]:
            await cursor.execute(CONTINUED, as_json(lost))
            continued = {place for (place,) in await cursor.fetchall()}
        return [Finding(some, place in continued) for place, some in enumerate(found)]

    return await connections.run(ask)


def _found(
    conversation_id: UUID,
    agent_id: UUID,
    state: str,
    head: bytes | None,
    silent: timedelta,
    episode_id: UUID | None,
    has_ended: bool,
    arm: str | None,
    *numbers: int,
) -> Found:
    return Found(
        conversation_id,
        agent_id,
        ConversationState(state),
        head,
        silent,
        episode_id,
        has_ended,
        None if arm is None else Arm(arm),
        *numbers,
    )

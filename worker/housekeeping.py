"""What time alone brings about: idle conversations end, and old dead letters go."""

from datetime import UTC, datetime, timedelta

import structlog

from core.domain.episodes import EpisodeEnd
from core.outcomes import settling
from core.storage.database import Database
from core.storage.repositories import conversations, rewards

log = structlog.get_logger()

BATCH = 200
"""Conversations ended a tick; what is left waits for the next one."""


async def close_idle(database: Database) -> int:
    """End conversations that nobody has touched for as long as their agent waits; how many."""
    async with database.transaction() as session:
        idle = await conversations.list_idle(session, limit=BATCH)
    ended = 0
    for conversation_id in idle:
        # A transaction each: a turn that is being written waits for one conversation and not for two hundred.
        async with database.transaction() as session:
            conversation = await conversations.lock_idle(session, conversation_id)
            if conversation is not None:
                await settling.end(session, conversation, EpisodeEnd.IDLE)
                ended += 1
    if ended:
        log.info("idle conversations ended", count=ended)
    return ended


async def forget_dead_letters(database: Database, *, days: float) -> int:
    """Delete feedback that could not be joined and has been kept for so many days; how many."""
    async with database.transaction() as session:
        forgotten = await rewards.forget_dead_letters(session, datetime.now(UTC) - timedelta(days=days))
    if forgotten:
        log.info("dead letters forgotten", count=forgotten)
    return forgotten

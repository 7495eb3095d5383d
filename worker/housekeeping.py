"""What time alone brings about: idle conversations end, windows pass, and old dead letters go."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from core.domain.episodes import EpisodeEnd
from core.domain.errors import GoneError
from core.outcomes import settling
from core.storage.database import Database
from core.storage.repositories import clock, conversations, rewards

log = structlog.get_logger()

SETTLE_SECONDS = 8.0
"""How long one tick settles at most: the worker has other work too."""
BATCH = 200
"""Conversations looked at a tick; what is left waits for the next one."""


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


async def settle_due(database: Database, *, now: datetime | None = None) -> int:
    """Let outcomes mature or expire whose windows have passed, and follow changed metrics; how many were looked at.

    `now` is Postgres' time unless given. It goes on until none is left or for SETTLE_SECONDS: a changed metric may
    concern every conversation that there is.
    """
    began, settled = time.monotonic(), 0
    while time.monotonic() < began + SETTLE_SECONDS:
        async with database.transaction() as session:
            unsettled = await conversations.list_unsettled(session, now or await clock.now(session), limit=BATCH)
        for conversation_id in unsettled:
            with suppress(GoneError):  # erased meanwhile
                async with database.transaction() as session:
                    conversation = await conversations.lock_conversation(session, conversation_id)
                    declared = await settling.metrics_of(session, [conversation])
                    moment = now or await clock.instant(session)
                    await settling.settle(session, [conversation], declared, moment, news=())
        settled += len(unsettled)
        if not unsettled:
            break
    if settled:
        log.info("conversations settled", count=settled)
    return settled


async def forget_dead_letters(database: Database, *, days: float) -> int:
    """Delete feedback that could not be joined and has been kept for so many days; how many."""
    async with database.transaction() as session:
        forgotten = await rewards.forget_dead_letters(session, datetime.now(UTC) - timedelta(days=days))
    if forgotten:
        log.info("dead letters forgotten", count=forgotten)
    return forgotten

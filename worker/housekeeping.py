"""What time alone brings about: idle conversations end, windows pass, old dead letters go, what taught may change."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from core.domain.episodes import EpisodeEnd
from core.domain.errors import GoneError
from core.domain.metrics import REWARD
from core.domain.outcome_chances import estimate_chances as chances_of
from core.outcomes import settling
from core.outcomes.earning import taught_to
from core.storage.database import Database
from core.storage.repositories import adapters, agents, clock, conversations, outcome_chances, rewards

log = structlog.get_logger()

SETTLE_SECONDS = 8.0
"""How long one tick settles at most: the worker has other work too."""
DECIDED_CONVERSATIONS = 5_000
"""Of how many conversations of each agent the chance of an outcome is estimated, the newest that are decided."""
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


async def estimate_chances(database: Database, *, now: datetime | None = None) -> int:
    """Estimate anew how likely each kind of conversation is to get an outcome; how many kinds.

    From those of which everything is known: ended so long ago that every window has passed.
    """
    kinds = 0
    async with database.transaction() as session:
        for agent in await agents.list_names(session):
            metrics = [metric for metric in await agents.list_metrics(session, agent) if metric.counts] or [REWARD]
            window = timedelta(seconds=max(metric.window_seconds for metric in metrics))
            decided_before = (now or await clock.now(session)) - window
            counted = await outcome_chances.count_decided(
                session, agent, closed_before=decided_before, limit=DECIDED_CONVERSATIONS
            )
            await outcome_chances.store_chances(session, agent, counted, chances_of(counted))
            kinds += len(counted)
    return kinds


async def watch_changes(database: Database, *, limit: float) -> int:
    """Look how much of what taught each version in service or on trial has changed since; how many were looked at.

    One that passes the limit is said in the log; the share itself stands on the version.
    """
    async with database.transaction() as session:
        watched = await adapters.list_learned(session)
        names = await adapters.names_of(session, [version.id for version in watched])
    for version in watched:
        async with database.transaction() as session:
            assert version.run_id is not None
            taught = await taught_to(session, version.run_id)
            share = sum(turn.changed for turn in taught) / len(taught) if taught else 0.0
            await adapters.note_changed_share(session, version.id, share)
        if share > limit >= (version.changed_share or 0.0):
            log.warning("what taught a version has changed since", adapter=str(names[version.id]), share=share)
    return len(watched)

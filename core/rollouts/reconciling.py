"""Make each engine hold the versions that it should: unload what nobody needs, bring in and prove what is missing."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import structlog

from core.domain.adapters import AdapterName
from core.domain.errors import NockError
from core.engine.pool import EnginePool
from core.engine.pooled import PooledEngine
from core.rollouts.proving import prove_on
from core.rollouts.unloading import unload_unneeded
from core.storage.database import Database
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters, agents, clock, residency, rollouts

log = structlog.get_logger()

Needed = Mapping[AdapterName, tuple[AdapterVersion, str]]
"""Versions that must be loaded, each with the base model that it belongs to."""


async def reconcile(database: Database, pool: EnginePool) -> None:
    """One pass over all engines. Run by one process at a time; neither an engine nor a version that fails stops others.

    What is proved is read before the engines are looked at: so what is proved and not there was lost.
    """
    async with database.transaction() as session:
        since = await clock.now(session)
        versions = await residency.list_needed(session, drain_seconds=pool.reply_seconds)
        names = await adapters.names_of(session, [version.id for version in versions])
        base_of = {agent.id: agent.base_model for agent in await agents.list_agents(session)}
        proved = await residency.list_proved(session)
    needed = {names[version.id]: (version, base_of[version.agent_id]) for version in versions}
    await pool.refresh()
    async with database.transaction() as session:
        await residency.forget_vanished(session, [engine.url for engine in pool.engines])
    await asyncio.gather(
        *(
            _bring_in_line(database, pool, engine, needed, proved.get(engine.url, ()), since=since)
            for engine in pool.healthy
        )
    )


async def _bring_in_line(
    database: Database,
    pool: EnginePool,
    engine: PooledEngine,
    needed: Needed,
    proved: Collection[AdapterName],
    *,
    since: datetime,
) -> None:
    assert engine.models is not None
    base = engine.models.base
    await unload_unneeded(database, pool, engine, keep=needed)
    held: list[UUID] = []
    for name, (version, its_base) in needed.items():
        if its_base != base:
            continue
        if not engine.lists(str(name)) and len(engine.models.adapters) >= pool.room:
            log.warning("no room for an adapter", adapter=str(name), engine=engine.url)
            continue  # a rollback needs the version before the one before: nobody's own place is taken for it
        try:
            if name not in proved or not engine.lists(str(name)):
                await _bring_in(database, engine, base, version, name, lost=name in proved)
            held.append(version.id)
        except NockError:
            pass  # said already, and tried again at the next pass
    async with database.transaction() as session:
        await residency.record(session, engine.url, held, since=since)


async def _bring_in(
    database: Database, engine: PooledEngine, base: str, version: AdapterVersion, name: AdapterName, *, lost: bool
) -> None:
    """No gateway may ask for it between its load and its probe, because it was there before the engine restarted."""
    if lost:
        async with database.transaction() as session:
            await residency.note_lacking(session, engine.url, version.id)
            await rollouts.announce(session)
    await prove_on(database, engine, base, version, name)

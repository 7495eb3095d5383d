"""Make each engine hold the versions that it should: load what is missing, unload what nobody needs."""

from collections.abc import Mapping
from uuid import UUID

import structlog

from core.domain.adapters import AdapterName, parse_adapter_name
from core.domain.errors import NockError
from core.engine.client import EngineModels
from core.engine.pool import EnginePool, PooledEngine
from core.rollouts.loading import load
from core.storage.database import Database
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters, agents

log = structlog.get_logger()

Needed = Mapping[AdapterName, tuple[AdapterVersion, str]]
"""Versions that must be loaded, each with the base model that it belongs to."""


async def reconcile(database: Database, pool: EnginePool) -> None:
    """One pass over all engines. Run by one process at a time; a version that fails to load stops no other."""
    async with database.transaction() as session:
        versions = await adapters.list_needed(session)
        names = await adapters.names_of(session, [version.id for version in versions])
        base_of = {agent.id: agent.base_model for agent in await agents.list_agents(session)}
    needed = {names[version.id]: (version, base_of[version.agent_id]) for version in versions}
    await pool.refresh()
    for engine in pool.healthy:
        assert engine.models is not None
        held = await _bring_in_line(engine, engine.models, needed, database)
        async with database.transaction() as session:
            await adapters.record_residency(session, engine.client.url, held)


async def _bring_in_line(engine: PooledEngine, models: EngineModels, needed: Needed, database: Database) -> list[UUID]:
    """Load and unload on one engine; the ids of the versions that it holds afterwards."""
    held = []
    for name, (version, base) in needed.items():
        if base != models.base:
            continue
        try:
            if str(name) not in models.adapters:
                await load(engine.client, version, name)
                log.info("adapter loaded", adapter=str(name), engine=engine.client.url)
            held.append(version.id)
        except NockError as error:
            log.error("adapter not loaded", adapter=str(name), engine=engine.client.url, why=error.message)
    for text in models.adapters:
        name_or_none = parse_adapter_name(text)
        if name_or_none is None or name_or_none in needed:
            continue  # a name that is not of our making is somebody else's to unload
        async with database.transaction() as session:
            ours = await adapters.find_version(session, name_or_none)
            still_unneeded = ours is not None and ours.id not in {v.id for v in await adapters.list_needed(session)}
        if still_unneeded:
            try:
                await engine.client.unload_adapter(text)
                log.info("adapter unloaded", adapter=text, engine=engine.client.url)
            except NockError as error:
                log.error("adapter not unloaded", adapter=text, engine=engine.client.url, why=error.message)
    return held

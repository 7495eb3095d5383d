"""Bring a version into every engine and have it speak there, before anybody is sent to it."""

import asyncio
from typing import Any

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.engine.pool import EnginePool, PooledEngine
from core.rollouts.loading import load
from core.rollouts.probing import probe
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent
from core.storage.repositories import adapters

WANTED_SECONDS = 600.0
"""How long a version that is being brought in is safe from the reconciler, should the process die that does it."""


async def prove(
    database: Database, pool: EnginePool, agent: Agent, version: AdapterVersion, name: AdapterName
) -> list[dict[str, Any]]:
    """Load and probe it on each engine of the agent's base model; what the probes saw.

    Raises ConflictError for a failed probe, DamagedAdapterError for files that are not those registered, and
    EngineError when an engine is down.
    """
    await pool.refresh()
    engines = pool.all_of(agent.base_model)
    async with database.transaction() as session:
        await adapters.want(session, [engine.client.url for engine in engines], version.id, seconds=WANTED_SECONDS)
    return await asyncio.gather(*(_prove_on(engine, agent, version, name) for engine in engines))


async def _prove_on(engine: PooledEngine, agent: Agent, version: AdapterVersion, name: AdapterName) -> dict[str, Any]:
    await load(engine.client, version, name)
    if version.number == BASE_NUMBER:
        return {"engine": engine.client.url}
    return {"engine": engine.client.url} | await probe(engine.client, agent.base_model, name)

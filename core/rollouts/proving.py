"""Bring a version into the engines and have it speak there, before anybody is sent to it."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.errors import ConflictError, EngineError, EngineTimeoutError, NockError
from core.engine.pool import EnginePool
from core.engine.pooled import PooledEngine
from core.rollouts.loading import check_files, load
from core.rollouts.probing import probe
from core.rollouts.room import take_place
from core.rollouts.unloading import unload_unneeded
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent
from core.storage.repositories import residency, rollouts

log = structlog.get_logger()

WANTED_SECONDS = 600.0
"""How long a version that is being brought in is safe from the reconciler, should the process die that does it."""


async def prove(
    database: Database, pool: EnginePool, agent: Agent, version: AdapterVersion, name: AdapterName
) -> list[dict[str, Any]]:
    """Load and probe it on each engine of the agent's base model; what the probes saw, and where they failed.

    One engine that holds it is enough: no gateway asks the others for it until the reconciler has brought it there.
    Raises DamagedAdapterError for files that are not those registered, ConflictError for a probe that failed everywhere
    or an engine without room, and EngineError when no engine serves the base model or none could load it.
    """
    await pool.refresh()
    engines = pool.serving(agent.base_model)
    if version.number == BASE_NUMBER:
        return [{"engine": engine.url} for engine in engines]
    await asyncio.to_thread(check_files, version, name)
    urls = [engine.url for engine in engines]
    async with database.transaction() as session:
        await take_place(session, pool, agent, version, urls, seconds=WANTED_SECONDS)
    answers = await asyncio.gather(*(_try_on(database, pool, engine, agent, version, name) for engine in engines))
    failures = [answer for answer in answers if isinstance(answer, NockError)]
    if len(failures) == len(answers):
        async with database.transaction() as session:
            await residency.want(session, urls, version.id, seconds=0)
        raise next((failure for failure in failures if isinstance(failure, ConflictError)), failures[0])
    seen = [_tell(engine, answer) for engine, answer in zip(engines, answers, strict=True)]
    return seen + [{"engine": engine.url, "failed": "It does not answer."} for engine in pool.down]


async def _try_on(
    database: Database,
    pool: EnginePool,
    engine: PooledEngine,
    agent: Agent,
    version: AdapterVersion,
    name: AdapterName,
) -> dict[str, float] | NockError:
    try:
        if engine.models is not None and len(engine.models.adapters) >= pool.room:
            await unload_unneeded(database, pool, engine)
        return await prove_on(database, engine, agent.base_model, version, name)
    except NockError as error:
        return error


def _tell(engine: PooledEngine, answer: dict[str, float] | NockError) -> dict[str, Any]:
    if isinstance(answer, NockError):
        return {"engine": engine.url, "failed": answer.message}
    return {"engine": engine.url} | answer


async def prove_on(
    database: Database, engine: PooledEngine, base: str, version: AdapterVersion, name: AdapterName
) -> dict[str, float]:
    """Load and probe it on one engine, and tell the gateways. One that fails counts as an engine without it."""
    was_there = engine.lists(str(name))
    try:
        async with asyncio.timeout(engine.client.load_seconds):
            await load(engine.client, version, name)
            seen = await probe(engine.client, base, name)
    except (NockError, TimeoutError) as error:
        why = error.message if isinstance(error, NockError) else "The engine took too long to load it and to answer."
        log.error("adapter not brought in", adapter=str(name), engine=engine.url, why=why)
        async with database.transaction() as session:
            await residency.note_lacking(session, engine.url, version.id)
            await rollouts.announce(session)
        if not was_there:
            with suppress(EngineError):
                await engine.client.unload_adapter(str(name))
        if isinstance(error, NockError):
            raise
        raise EngineTimeoutError(why) from error
    async with database.transaction() as session:
        await residency.note_proved(session, engine.url, version.id)
        await rollouts.announce(session)
    engine.remember(str(name), version.path or "")
    log.info("adapter brought in", adapter=str(name), engine=engine.url)
    return seen

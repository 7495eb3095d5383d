"""Take out of an engine what nobody needs any more."""

from collections.abc import Container

import structlog

from core.domain.adapters import AdapterName, parse_adapter_name
from core.domain.errors import NockError
from core.engine.pool import EnginePool
from core.engine.pooled import PooledEngine
from core.storage.database import Database
from core.storage.repositories import adapters, residency, rollouts

log = structlog.get_logger()


async def unload_unneeded(
    database: Database, pool: EnginePool, engine: PooledEngine, *, keep: Container[AdapterName] = ()
) -> None:
    """Unload each version on one engine that no rollout, no conversation and no reply under way needs, but for those
    that the caller would load again."""
    for text in [] if engine.models is None else list(engine.models.adapters):
        name = parse_adapter_name(text)
        if name is None or name in keep:
            continue  # a name that is not of our making is somebody else's to unload
        async with database.transaction() as session:
            ours = await adapters.find_version(session, name)
            needed = {one.id for one in await residency.list_needed(session, drain_seconds=pool.reply_seconds)}
            if ours is None or ours.id in needed:
                continue
            await residency.note_lacking(session, engine.url, ours.id)
            await rollouts.announce(session)
        try:
            await engine.client.unload_adapter(text)
            engine.forget(text)
            log.info("adapter unloaded", adapter=text, engine=engine.url)
        except NockError as error:
            log.error("adapter not unloaded", adapter=text, engine=engine.url, why=error.message)

"""Look at the engines again and again, each by itself: one that answers slowly delays no look at another."""

import asyncio

from core.engine.pool import EnginePool
from core.engine.pooled import PooledEngine


async def watch(pool: EnginePool, seconds: float) -> None:
    """Find the engines and look at each every so often. Runs until cancelled."""
    looking: dict[PooledEngine, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as looks:
        while True:
            await asyncio.sleep(seconds)
            await pool.discover()
            looking = {engine: look for engine, look in looking.items() if not look.done()}
            for engine in pool.engines:
                if engine not in looking:
                    looking[engine] = looks.create_task(_look(engine))


async def _look(engine: PooledEngine) -> None:
    await engine.look()
    await engine.try_again()

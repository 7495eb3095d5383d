"""Several engines: where they are, which are healthy, what each serves, and which one takes the next request."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import structlog

from core.domain.errors import BaseModelNotServedError, EngineUnavailableError
from core.engine import affinity
from core.engine.client import EngineClient
from core.engine.discovery import Discovery
from core.engine.pooled import PooledEngine
from core.settings import EngineSettings

log = structlog.get_logger()


class EnginePool:
    """The engines of a deployment, grouped by the base model that each reports.

    Each has `room` for so many versions, and takes `reply_seconds` for one reply at most. Where it has said nothing for
    `hedge_seconds`, unless that is 0, another may be asked too.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.engines: list[PooledEngine] = []
        self.room = settings.engine_room
        self.reply_seconds = settings.engine_timeout_seconds
        self.hedge_seconds = settings.engine_hedge_seconds
        self._settings = settings
        self._discovery = Discovery(settings.sources)

    async def discover(self) -> None:
        """Ask again where the engines are. One that is gone is asked nothing new; what it is saying it may finish."""
        urls = await self._discovery.find()
        known = {engine.url: engine for engine in self.engines}
        self.engines = [known[url] if url in known else self._pooled(url) for url in urls]
        for url in known.keys() - set(urls):
            known[url].client.close()
            log.info("engine gone", engine=url)
        if known:
            for url in urls:
                if url not in known:
                    log.info("engine found", engine=url)

    def _pooled(self, url: str) -> PooledEngine:
        client = EngineClient(url, self._settings)
        return PooledEngine(client, self._settings.engine_concurrency)

    async def refresh(self) -> None:
        """Look at every engine once."""
        await self.discover()
        await asyncio.gather(*(engine.look() for engine in self.engines))

    @property
    def healthy(self) -> list[PooledEngine]:
        return [engine for engine in self.engines if engine.models is not None]

    def serving(self, base: str) -> list[PooledEngine]:
        """Healthy engines of that base model, least loaded first.

        Raises EngineUnavailableError when none is healthy, BaseModelNotServedError when none of them has the model.
        """
        if not self.healthy:
            raise EngineUnavailableError("No engine is healthy.")
        found = [engine for engine in self.healthy if engine.models and engine.models.base == base]
        if not found:
            served = ", ".join(sorted({engine.models.base for engine in self.healthy if engine.models}))
            raise BaseModelNotServedError(f"No engine serves the base model {base!r}; served now: {served}.")
        return sorted(found, key=lambda engine: engine.in_flight)

    @property
    def down(self) -> list[PooledEngine]:
        return [engine for engine in self.engines if engine.models is None]


def in_order(engines: Sequence[PooledEngine], conversation: UUID | None) -> list[PooledEngine]:
    """Those that may be asked, best first.

    One that keeps failing is asked only where all do: what might be answered is not refused for a guess of ours.
    """
    working = {engine.url: engine for engine in engines if not engine.circuit.is_open}
    if not working:
        return sorted(engines, key=lambda engine: engine.circuit.opened_at or 0.0)
    load = {url: engine.in_flight for url, engine in working.items()}
    return [working[url] for url in affinity.in_order(load, conversation)]


@asynccontextmanager
async def open_pool(settings: EngineSettings) -> AsyncIterator[EnginePool]:
    """A pool with its connections, which close with the block."""
    pool = EnginePool(settings)
    await pool.discover()
    try:
        yield pool
    finally:
        for engine in pool.engines:
            engine.client.close()

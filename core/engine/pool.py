"""Several engines: which are healthy, what each serves, and which one takes the next request."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp

from core.domain.errors import BaseModelNotServedError, EngineError, EngineUnavailableError
from core.engine.client import EngineClient, EngineModels
from core.settings import EngineSettings

KEEP_ALIVE_SECONDS = 2.0
"""How long an idle connection is kept. vLLM closes one after 5 s: a request sent on it at that moment would fail."""


@dataclass(slots=True, eq=False)
class PooledEngine:
    """An engine as last seen. `models` None means: not healthy."""

    client: EngineClient
    models: EngineModels | None = None
    in_flight: int = 0

    @contextmanager
    def taken(self) -> Iterator[EngineClient]:
        """Count a request while it runs, so that the next one goes where fewer do."""
        self.in_flight += 1
        try:
            yield self.client
        finally:
            self.in_flight -= 1


class EnginePool:
    """The engines of a deployment, grouped by the base model that each reports."""

    def __init__(self, clients: Sequence[EngineClient]) -> None:
        self.engines = [PooledEngine(client) for client in clients]

    async def refresh(self) -> None:
        """Look at every engine once."""
        await asyncio.gather(*(self._look(engine) for engine in self.engines))

    async def _look(self, engine: PooledEngine) -> None:
        try:
            engine.models = await engine.client.models() if await engine.client.is_healthy() else None
        except EngineError:
            engine.models = None

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

    def all_of(self, base: str) -> list[PooledEngine]:
        """The same, refusing while any configured engine is down: a version that one cannot load is not promoted."""
        down = [engine.client.url for engine in self.engines if engine.models is None]
        if down:
            raise EngineUnavailableError(f"Not every engine answers: {', '.join(down)}.")
        return self.serving(base)


@asynccontextmanager
async def open_pool(settings: EngineSettings) -> AsyncIterator[EnginePool]:
    """A pool with its connections, which close with the block."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, read_bufsize=2**16, max_line_size=2**16, auto_decompress=False
    ) as session:
        yield EnginePool([EngineClient(url, session, settings) for url in settings.urls])

"""Several engines: which are healthy, what each serves, and which one takes the next request."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import aiohttp

from core.domain.errors import BaseModelNotServedError, EngineError, EngineUnavailableError
from core.engine.client import EngineClient, EngineModels
from core.settings import ENGINE_ROOM, ENGINE_TIMEOUT_SECONDS, EngineSettings

KEEP_ALIVE_SECONDS = 2.0
"""How long an idle connection is kept. vLLM closes one after 5 s: a request sent on it at that moment would fail."""


@dataclass(slots=True, eq=False)
class PooledEngine:
    """An engine as last seen. `models` None means: not healthy."""

    client: EngineClient
    models: EngineModels | None = None
    in_flight: int = 0
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever brings a version in for a request: those who need the same one wait for it."""

    @property
    def url(self) -> str:
        return self.client.url

    def lists(self, adapter: str) -> bool:
        """Whether it said that it holds the version when it was last looked at."""
        return self.models is not None and adapter in self.models.adapters

    def remember(self, adapter: str, path: str) -> None:
        """It has been given the version since it was looked at."""
        if self.models is not None:
            self.models.adapters[adapter] = path

    def forget(self, adapter: str) -> None:
        """It does not hold the version any more, whatever it said."""
        if self.models is not None:
            self.models.adapters.pop(adapter, None)

    async def look(self) -> None:
        """See whether it is healthy and what it holds."""
        try:
            self.models = await self.client.models() if await self.client.is_healthy() else None
        except EngineError:
            self.models = None

    @contextmanager
    def taken(self) -> Iterator[EngineClient]:
        """Count a request while it runs, so that the next one goes where fewer do."""
        self.in_flight += 1
        try:
            yield self.client
        finally:
            self.in_flight -= 1


class EnginePool:
    """The engines of a deployment, grouped by the base model that each reports.

    Each has `room` for so many versions, and takes `reply_seconds` for one reply at most.
    """

    def __init__(
        self, clients: Sequence[EngineClient], *, room: int = ENGINE_ROOM, reply_seconds: float = ENGINE_TIMEOUT_SECONDS
    ) -> None:
        self.engines = [PooledEngine(client) for client in clients]
        self.room = room
        self.reply_seconds = reply_seconds

    async def refresh(self) -> None:
        """Look at every engine once."""
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


@asynccontextmanager
async def open_pool(settings: EngineSettings) -> AsyncIterator[EnginePool]:
    """A pool with its connections, which close with the block."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, read_bufsize=2**16, max_line_size=2**16, auto_decompress=False
    ) as session:
        clients = [EngineClient(url, session, settings) for url in settings.urls]
        yield EnginePool(clients, room=settings.engine_room, reply_seconds=settings.engine_timeout_seconds)

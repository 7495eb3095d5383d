"""One engine among several: how it was when last seen, what it is doing, and whether it may be asked."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from core.domain.errors import (
    EngineBusyError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    OverloadedError,
)
from core.engine.circuit import Circuit
from core.engine.client import AdapterNotLoadedError, EngineClient, EngineModels, Json
from core.engine.generation import Generation

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class PooledEngine:
    """An engine as last seen. `models` None means: not healthy."""

    client: EngineClient
    concurrency: int
    """Requests that it may have at once."""
    models: EngineModels | None = None
    in_flight: int = 0
    circuit: Circuit = field(default_factory=Circuit)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever brings a version in for a request: those who need the same one wait for it."""
    _seen_healthy: float = field(default_factory=time.monotonic)

    @property
    def url(self) -> str:
        return self.client.url

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.concurrency

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
        now = time.monotonic()
        if self.models is not None:
            self._seen_healthy = now
        elif now - self._seen_healthy > self.client.silence_seconds:
            self.client.give_up_replies()

    async def try_again(self) -> None:
        """The trial of an open circuit, where it is due: one token, so that no client's request has to find out."""
        if self.models is None or not self.circuit.trial_is_due(time.monotonic()):
            return
        question = {"model": self.models.base, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        as_of_clients = {"logprobs": True, "return_token_ids": True}
        try:
            answer = await self.client.complete(question | as_of_clients, self.client.silence_seconds)
            Generation().add_answer(answer)
        except EngineError:
            self.circuit.note_failed_trial(time.monotonic())
        else:
            self.circuit.note_success()
            log.info("engine serves again", engine=self.url)

    async def complete(self, body: Json, seconds: float) -> Json:
        """One whole reply, within so many seconds. Raises EngineSilentError once the engine seems dead."""
        self._take()
        try:
            return await self.client.complete(body, seconds)
        finally:
            self.in_flight -= 1

    async def stream(self, body: Json, seconds: float) -> AsyncGenerator[Json, None]:
        """The chunks of one reply, the last of them within so many seconds."""
        self._take()
        try:
            async with aclosing(self.client.stream(body, seconds)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.in_flight -= 1

    def note(self, error: EngineError, adapter: str) -> None:
        """A request failed here: remember what that says of the engine."""
        match error:
            case AdapterNotLoadedError():
                self.forget(adapter)
            case EngineRefusedError() | EngineBusyError():
                pass
            case EngineUnavailableError():
                self.models = None
            case _:
                was_open = self.circuit.is_open
                self.circuit.note_failure(time.monotonic())
                if self.circuit.is_open and not was_open:
                    log.error("engine keeps failing", engine=self.url, why=error.message)

    def _take(self) -> None:
        """Count a request. Raises OverloadedError where there are as many as it may have."""
        if not self.has_room:
            raise OverloadedError("The engines have as many requests as they can take; try again.")
        self.in_flight += 1

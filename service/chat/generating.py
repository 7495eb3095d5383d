"""Have an engine speak under a version, within the time that a reply may take; another where the first cannot."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Any
from uuid import UUID

from core.domain.adapters import AdapterName
from core.domain.errors import (
    EngineError,
    EngineRefusedError,
    EngineSilentError,
    EngineTimeoutError,
    EngineUnavailableError,
)
from core.engine.client import AdapterNotLoadedError
from core.engine.generation import Generation
from core.engine.pooled import PooledEngine
from core.storage.repositories.rollouts import Route
from service.chat.choosing import bring_in, holders, is_held
from service.chat.hedging import Answer, Ask, first_answer
from service.gateway import Gateway

Json = dict[str, Any]


async def complete(
    gateway: Gateway, route: Route, adapter: AdapterName, body: Json, *, conversation: UUID | None = None
) -> tuple[Json, Generation]:
    """One whole answer, as it came and as it was understood."""
    asking = Asking(gateway, route, adapter, conversation)

    async def ask(engine: PooledEngine) -> tuple[Json, Generation]:
        answer, generation = await engine.complete(body, asking.seconds_left()), Generation()
        generation.add_answer(answer)
        return answer, generation

    engine, answered = await asking.first(ask)
    engine.circuit.note_success()
    return answered


async def stream(
    gateway: Gateway,
    route: Route,
    adapter: AdapterName,
    body: Json,
    generation: Generation,
    *,
    conversation: UUID | None = None,
) -> AsyncGenerator[Json, None]:
    """The chunks of one answer, each added to `generation` before. Another engine is tried only while there is none."""
    asking = Asking(gateway, route, adapter, conversation)
    body = body | {"stream_options": {"include_usage": True}}
    async with AsyncExitStack() as opened:

        async def ask(engine: PooledEngine) -> tuple[Json | None, AsyncGenerator[Json, None]]:
            chunks = await opened.enter_async_context(aclosing(engine.stream(body, asking.seconds_left())))
            return await anext(chunks, None), chunks

        while True:
            engine, (chunk, chunks) = await asking.first(ask)
            started = False
            try:
                while chunk is not None:
                    generation.add_chunk(chunk)
                    started = True
                    yield chunk
                    chunk = await anext(chunks, None)
                if not generation.finish_reason:
                    raise EngineError("The engine ended the stream without a finish.")
            except EngineError as error:
                asking.pass_over(engine, error, started=started)
            else:
                engine.circuit.note_success()
                return


class Asking:
    """One request on its way from engine to engine, until its time is over.

    An engine that does not take it (away, full, without the version) is passed over, as many as there are: that costs
    nothing. One that took it and failed is followed by one other; a request that made two fail would make all fail.
    """

    def __init__(self, gateway: Gateway, route: Route, adapter: AdapterName, conversation: UUID | None) -> None:
        self._gateway = gateway
        self._route = route
        self._adapter = adapter
        self._conversation = conversation
        self._deadline = asyncio.get_running_loop().time() + gateway.pool.reply_seconds
        self._hedge_seconds = gateway.pool.hedge_seconds
        self._engines: Iterator[PooledEngine] | None = None
        self._was_brought_in = False
        self._was_retried = False
        self._failure: EngineError = EngineUnavailableError("No engine can take the request.")

    async def first(self, ask: Ask[Answer]) -> tuple[PooledEngine, Answer]:
        """The first engine that answers, and its answer. Raises the last failure where no engine is left."""
        while True:
            engine = await self._next_engine()
            try:
                if not self._hedge_seconds:
                    return engine, await ask(engine)
                return await first_answer(
                    engine, ask, after=self._hedge_seconds, another=self._another, adapter=str(self._adapter)
                )
            except EngineError as error:
                self.pass_over(engine, error)

    def seconds_left(self) -> float:
        """Until the deadline; no less than a moment, for no time at all would mean no limit."""
        return max(self._deadline - asyncio.get_running_loop().time(), 0.001)

    def pass_over(self, engine: PooledEngine, error: EngineError, *, started: bool = False) -> None:
        """Note what happened, and raise it where no other engine may be asked."""
        is_out_of_time = isinstance(error, EngineTimeoutError) and not isinstance(error, EngineSilentError)
        if not (started and is_out_of_time):  # it spoke to the end of the time: it does not fail, it is slow
            engine.note(error, str(self._adapter))
        if started or is_out_of_time or isinstance(error, EngineRefusedError):
            raise error
        if not isinstance(error, AdapterNotLoadedError | EngineUnavailableError):
            if self._was_retried:
                raise error
            self._was_retried = True
        self._failure = error

    async def _next_engine(self) -> PooledEngine:
        """To bring a version in takes of the request's time."""
        try:
            async with asyncio.timeout_at(self._deadline):
                if self._engines is None:
                    found = await holders(self._gateway, self._route, self._adapter, self._conversation)
                    self._engines = iter(found)
                if engine := next(self._engines, None):
                    return engine
                if not self._was_brought_in and not is_held(self._gateway, self._route, self._adapter):
                    self._was_brought_in = True
                    return await bring_in(self._gateway, self._route, self._adapter)
        except TimeoutError as error:
            raise EngineTimeoutError("The version could not be brought in within the reply's time.") from error
        raise self._failure

    def _another(self) -> PooledEngine | None:
        """One that holds the version too, works and has room. That is the request's one retry."""
        found = next((one for one in self._engines or () if one.has_room and not one.circuit.is_open), None)
        self._was_retried = self._was_retried or found is not None
        return found

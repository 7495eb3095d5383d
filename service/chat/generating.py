"""Have an engine speak under a version: the least loaded one that holds it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from core.domain.adapters import AdapterName
from core.domain.errors import EngineBusyError, EngineError, EngineUnavailableError
from core.engine.client import AdapterNotLoadedError
from core.engine.pool import PooledEngine
from core.storage.repositories.rollouts import Route
from service.chat.choosing import holders
from service.gateway import Gateway

Json = dict[str, Any]


async def complete(gateway: Gateway, route: Route, adapter: AdapterName, body: Json) -> Json:
    """One whole answer. An engine that does not take the request is passed over for the next."""
    passed: EngineError | None = None
    async with aclosing(holders(gateway, route, adapter)) as engines:
        async for engine in engines:
            with engine.taken() as client:
                try:
                    return await client.complete(body)
                except (AdapterNotLoadedError, EngineUnavailableError) as error:
                    passed = _pass_over(engine, adapter, error)
    assert passed is not None
    raise passed


async def stream(gateway: Gateway, route: Route, adapter: AdapterName, body: Json) -> AsyncGenerator[Json, None]:
    """The chunks of one answer. Another engine is tried only while nothing has come."""
    passed: EngineError | None = None
    body = body | {"stream_options": {"include_usage": True}}
    async with aclosing(holders(gateway, route, adapter)) as engines:
        async for engine in engines:
            started = False
            with engine.taken() as client:
                try:
                    async with aclosing(client.stream(body)) as chunks:
                        async for chunk in chunks:
                            started = True
                            yield chunk
                    return
                except (AdapterNotLoadedError, EngineUnavailableError) as error:
                    if started:
                        raise
                    passed = _pass_over(engine, adapter, error)
    assert passed is not None
    raise passed


def _pass_over(engine: PooledEngine, adapter: AdapterName, error: EngineError) -> EngineError:
    """Remember until the next look what the engine lacks, or that it is away."""
    if isinstance(error, AdapterNotLoadedError):
        engine.forget(str(adapter))
    elif not isinstance(error, EngineBusyError):
        engine.models = None
    return error

"""Have an engine speak under a version: the least loaded one, which is given the version if it lost it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog

from core.domain.adapters import AdapterName
from core.domain.errors import EngineBusyError, EngineError, EngineUnavailableError, NockError
from core.engine.client import AdapterNotLoadedError, EngineClient
from core.rollouts.loading import load
from core.storage.repositories import adapters
from core.storage.repositories.rollouts import Route
from service.gateway import Gateway

Json = dict[str, Any]

log = structlog.get_logger()


async def complete(gateway: Gateway, route: Route, adapter: AdapterName, body: Json) -> Json:
    """One whole answer. An engine that does not take the request is passed over for the next."""
    unavailable: EngineUnavailableError | None = None
    for engine in gateway.pool.serving(route.agent.base_model):
        with engine.taken() as client:
            try:
                try:
                    return await client.complete(body)
                except AdapterNotLoadedError:
                    await _give_back(gateway, client, adapter)
                    return await client.complete(body)
            except EngineBusyError as error:
                unavailable = error
            except EngineUnavailableError as error:
                engine.models = None  # until the next look finds it healthy
                unavailable = error
    assert unavailable is not None
    raise unavailable


async def stream(gateway: Gateway, route: Route, adapter: AdapterName, body: Json) -> AsyncGenerator[Json, None]:
    """The chunks of one answer. Another engine is tried only while nothing has come."""
    unavailable: EngineUnavailableError | None = None
    body = body | {"stream_options": {"include_usage": True}}
    for engine in gateway.pool.serving(route.agent.base_model):
        started = False
        with engine.taken() as client:
            try:
                async with aclosing(_stream_from(gateway, client, adapter, body)) as chunks:
                    async for chunk in chunks:
                        started = True
                        yield chunk
                return
            except EngineUnavailableError as error:
                if started:
                    raise
                if not isinstance(error, EngineBusyError):
                    engine.models = None
                unavailable = error
    assert unavailable is not None
    raise unavailable


async def _stream_from(
    gateway: Gateway, client: EngineClient, adapter: AdapterName, body: Json
) -> AsyncGenerator[Json, None]:
    try:
        async with aclosing(client.stream(body)) as chunks:
            async for chunk in chunks:
                yield chunk
    except AdapterNotLoadedError:  # always before the first chunk
        await _give_back(gateway, client, adapter)
        async with aclosing(client.stream(body)) as chunks:
            async for chunk in chunks:
                yield chunk


async def _give_back(gateway: Gateway, client: EngineClient, adapter: AdapterName) -> None:
    """An engine that restarted has lost its adapters; the reconciler may be seconds behind."""
    async with gateway.database.transaction() as session:
        version = await adapters.get_version(session, adapter)
    try:
        await load(client, version, adapter)
    except NockError as error:
        log.error("adapter not loaded", adapter=str(adapter), engine=client.url, why=error.message)
        raise EngineError(f"The engine could not be given {adapter}.") from error

"""Which engines may speak under a version: those that hold it, or one that is given it where all have lost it."""

import asyncio
from uuid import UUID

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.errors import EngineError, EngineUnavailableError, NockError, NoRoomError
from core.engine.pool import in_order
from core.engine.pooled import PooledEngine
from core.rollouts.proving import prove_on
from core.rollouts.room import take_place
from core.rollouts.unloading import unload_unneeded
from core.storage.repositories import adapters
from core.storage.repositories.rollouts import Route
from service.gateway import Gateway


async def holders(
    gateway: Gateway, route: Route, adapter: AdapterName, conversation: UUID | None
) -> list[PooledEngine]:
    """Those that hold it, best first: the one that remembers the conversation where it is not busy.

    An engine that restarted lacks its versions until the reconciler has brought them back, and is asked for none of
    them meanwhile while another holds them.
    """
    serving = gateway.pool.serving(route.agent.base_model)
    if adapter.number == BASE_NUMBER:
        return in_order(serving, conversation)
    proved = [engine for engine in serving if gateway.routing.is_proved(engine.url, adapter)]
    if not any(engine.lists(str(adapter)) for engine in proved):  # it may have been brought in since the last look
        await asyncio.gather(*(engine.look() for engine in proved))
    return in_order([engine for engine in proved if engine.lists(str(adapter))], conversation)


def is_held(gateway: Gateway, route: Route, adapter: AdapterName) -> bool:
    """Whether an engine has it, busy or not."""
    return adapter.number == BASE_NUMBER or any(
        engine.lists(str(adapter)) and gateway.routing.is_proved(engine.url, adapter)
        for engine in gateway.pool.serving(route.agent.base_model)
    )


async def bring_in(gateway: Gateway, route: Route, adapter: AdapterName) -> PooledEngine:
    """For a version that every engine has lost: nobody is made to wait for the reconciler.

    One engine loads and proves it, once for all who wait; where it fails, the next. Raises EngineUnavailableError where
    other versions need every place.
    """
    failed: NockError | None = None
    for engine in gateway.pool.serving(route.agent.base_model):
        async with engine.loading:
            if gateway.routing.is_proved(engine.url, adapter) and engine.lists(str(adapter)):
                return engine
            try:
                await _prove_on(gateway, route, engine, adapter)
                return engine
            except NoRoomError as error:  # whose sentence names the versions of others
                raise EngineUnavailableError(f"The engines have no room for {adapter} now.", code=error.code) from error
            except NockError as error:
                failed = error
    raise EngineError(f"No engine could be given {adapter}.") from failed


async def _prove_on(gateway: Gateway, route: Route, engine: PooledEngine, adapter: AdapterName) -> None:
    pool = gateway.pool
    async with gateway.database.transaction() as session:
        version = await adapters.get_version(session, adapter)
        await take_place(session, pool, route.agent, version, [engine.url], seconds=pool.reply_seconds)
    if engine.models is not None and len(engine.models.adapters) >= pool.room:
        await unload_unneeded(gateway.database, pool, engine)
    await prove_on(gateway.database, engine, route.agent.base_model, version, adapter)
    await gateway.routing.refresh(gateway.database)

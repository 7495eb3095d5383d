"""What a gateway process holds at the moment, set as gauges twice a second, and how late its event loop wakes."""

import asyncio
import time
from urllib.parse import urlsplit

from sqlalchemy import AsyncAdaptedQueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from core.engine.pool import EnginePool
from service import metrics
from service.gateway import Gateway
from service.shown_engines import SHOWN_ENGINES

SECONDS = 0.5


async def beat(gateway: Gateway) -> None:
    """Until cancelled."""
    metrics.STARTED.set_to_current_time()
    while True:
        due = time.monotonic() + SECONDS
        await asyncio.sleep(SECONDS)
        metrics.LOOP_LAG_SECONDS.observe(max(0.0, time.monotonic() - due))
        look(gateway)


def look(gateway: Gateway) -> None:
    """Set the gauges to what is now."""
    _look_at_engines(gateway.pool)
    _look_at_connections(gateway)
    turns = gateway.turns
    for gathering in (turns.finding, turns.opening, turns.writing, gateway.outcomes):
        metrics.GATHERING_WAITING.labels(gathering.name).set(gathering.waiting)
    for route in gateway.routing.all():
        metrics.ROLLOUT_GENERATION.labels(route.agent.name).set(route.generation)


def _look_at_engines(pool: EnginePool) -> None:
    metrics.HEALTHY_ENGINES.set(len(pool.healthy))
    engines = {urlsplit(engine.url).netloc.rpartition("@")[2]: engine for engine in pool.engines}  # without a password
    SHOWN_ENGINES.follow(engines)
    for address, engine in engines.items():
        metrics.ENGINE_UP.labels(address).set(engine.models is not None)
        metrics.ENGINE_IN_FLIGHT.labels(address).set(engine.in_flight)


def _look_at_connections(gateway: Gateway) -> None:
    bind = gateway.database.bind
    if isinstance(bind, AsyncEngine) and isinstance(bind.pool, AsyncAdaptedQueuePool):
        metrics.POOL_SIZE.labels("sessions").set(bind.pool.checkedin() + bind.pool.checkedout())
        metrics.POOL_IN_USE.labels("sessions").set(bind.pool.checkedout())
    for name, connections in gateway.turns.pools.items():
        metrics.POOL_SIZE.labels(name).set(connections.size)
        metrics.POOL_IN_USE.labels(name).set(connections.in_use)

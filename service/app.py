"""The gateway's composition root: opens what a process holds, puts the routes together, closes it all again."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import structlog
from fastapi import FastAPI
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from core import tracing
from core.domain.keys import Scope, hash_secret
from core.domain.signatures import Signer
from core.engine.pool import open_pool
from core.engine.watching import watch
from core.settings import AdapterStoreSettings, DatabaseSettings, EngineSettings, SecretSettings
from core.storage.database import Database, connect
from core.storage.repositories import keys
from service import cors, errors, health, openapi, pulse
from service.adapters import routes as adapters_routes
from service.agents import routes as agents_routes
from service.audit import routes as audit_routes
from service.bodies import BodyLimit
from service.capacity import Capacity, CapacityLimit
from service.chat import routes as chat_routes
from service.conversations import routes as conversations_routes
from service.erasure import routes as erasure_routes
from service.feedback import routes as feedback_routes
from service.feedback.taking import taken_together
from service.gateway import Gateway
from service.gathering import Gathering
from service.imports import routes as imports_routes
from service.kept_answer import KeptAnswer
from service.key_ring import KeyRing
from service.keys import routes as keys_routes
from service.limits.counting import Counting
from service.limits.limiter import Limiter
from service.request_spans import telemetry
from service.rollouts import routes as rollouts_routes
from service.routing_table import RoutingTable, follow
from service.runs import routes as runs_routes
from service.settings import GatewaySettings
from service.shortcut import Shortcut
from service.token_memory import TokenMemory
from service.turn_log import open_turn_log

log = structlog.get_logger()

BOOTSTRAP = "NOCK_BOOTSTRAP_ADMIN_KEY"


def create_app(
    settings: GatewaySettings | None = None,
    database_settings: DatabaseSettings | None = None,
    engine_settings: EngineSettings | None = None,
    secret_settings: SecretSettings | None = None,
    store_settings: AdapterStoreSettings | None = None,
) -> FastAPI:
    """The gateway, from the environment unless told otherwise."""
    settings = settings or GatewaySettings()
    database_settings = database_settings or DatabaseSettings()
    engine_settings = engine_settings or EngineSettings()
    secret_settings = secret_settings or SecretSettings()
    signer = Signer(secret_settings.secret.get_secret_value())
    store_settings = store_settings or AdapterStoreSettings()
    capacity = Capacity(settings.most_requests)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, tracing.shut_down)
            app.state.gateway = await _open(stack, settings, database_settings, engine_settings, signer, store_settings)
            yield
            await capacity.wait_until_empty()

    app = FastAPI(
        title="Nock",
        version="0.1.0",
        description="Chat with agents that learn from how their conversations ended.",
        lifespan=lifespan,
        telemetry=telemetry(tracing.set_up("nock-gateway")),
    )
    app.add_middleware(Shortcut, path=chat_routes.COMPLETIONS, answer=chat_routes.complete_chat)  # within the next
    larger = {
        re.compile(chat_routes.COMPLETIONS): max(settings.chat_body_bytes, settings.max_body_bytes),
        feedback_routes.BATCH_PATH: max(settings.feedback_batch_bytes, settings.max_body_bytes),
        imports_routes.PATH: settings.adapter_bytes,
    }
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, larger=larger)
    app.state.capacity = capacity
    app.add_middleware(CapacityLimit, capacity=capacity)
    errors.install(app)
    for routes in (
        chat_routes,
        feedback_routes,
        conversations_routes,
        erasure_routes,
        agents_routes,
        runs_routes,
        adapters_routes,
        rollouts_routes,
        imports_routes,
        keys_routes,
        audit_routes,
        health,
    ):
        app.include_router(routes.router)
    openapi.describe(app)
    cors.allow(app, settings.origins)
    return app


async def _open(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    database_settings: DatabaseSettings,
    engine_settings: EngineSettings,
    signer: Signer,
    store_settings: AdapterStoreSettings,
) -> Gateway:
    """Open what the process holds. It starts while Postgres or the engines are away, and says so on /readyz."""
    url = database_settings.database_url
    engine = connect(url, pool_size=database_settings.database_pool)
    stack.push_async_callback(engine.dispose)
    database = Database(engine)
    turns = await stack.enter_async_context(open_turn_log(libpq_address(url)))
    pool = await stack.enter_async_context(open_pool(engine_settings))
    limits = Limiter(
        Counting(settings.redis_url),
        signer,
        without_redis=settings.limits_without_redis,
        longest_seconds=engine_settings.engine_timeout_seconds,
    )
    stack.push_async_callback(limits.close)
    gateway = Gateway(
        settings=settings,
        database=database,
        pool=pool,
        routing=RoutingTable(),
        limits=limits,
        keys=KeyRing(database, settings.key_cache_seconds),
        tokens=TokenMemory(settings.token_memory),
        signer=signer,
        adapters_dir=store_settings.adapters_dir,
        outcomes=Gathering("outcomes", taken_together(database, signer), kind=lambda told: told[0]),
        turns=turns,
        missing_in_database=KeptAnswer(partial(health.find_missing, database)),
        figures=KeptAnswer(partial(health.look_up_figures, database)),
    )
    stack.push_async_callback(gateway.outcomes.finish)
    with suppress(SQLAlchemyError, OSError):
        await gateway.routing.refresh(database)
    await pool.refresh()
    following = follow(
        gateway.routing,
        database,
        libpq_address(url),
        settings.routing_poll_seconds,
        gateway.keys.forget,
        gateway.tokens.follow,
    )
    for work in (
        following,
        watch(pool, settings.engine_check_seconds),
        pulse.beat(gateway),
        _bootstrap_admin(database, settings),
    ):
        task = asyncio.create_task(work)
        stack.push_async_callback(_end, task)
    return gateway


def libpq_address(url: str) -> str:
    """The address as libpq reads it, which decodes no `+` in a query."""
    parts = make_url(url)
    named = parts.translate_connect_args(username="user", database="dbname")
    return make_conninfo("", **{**named, **parts.query})


async def _bootstrap_admin(database: Database, settings: GatewaySettings) -> None:
    """Turn the configured secret into an admin key where there is no key yet, as soon as Postgres is there."""
    while settings.bootstrap_admin_key is not None:
        try:
            async with database.transaction() as session:
                if not await keys.has_any(session):
                    hashed = hash_secret(settings.bootstrap_admin_key.get_secret_value())
                    await keys.add_key(
                        session, secret_hash=hashed, scopes=[Scope.ADMIN], name="bootstrap", by=BOOTSTRAP
                    )
                    log.info("admin key made", by=BOOTSTRAP)
            return
        except (SQLAlchemyError, OSError) as error:
            log.warning("admin key not made yet", why=type(error).__name__)
            await asyncio.sleep(1)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

"""One engine, one session factory, one way to open a transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import NullPool
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from core import tracing

CONNECTING: dict[str, Any] = {
    "application_name": "nock",
    "connect_timeout": 5,
    # A machine that is gone says nothing: without these a statement would wait a quarter of an hour for its answer.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""How Postgres is met, in libpq's words."""

Answer = TypeVar("Answer")

OPTIONS: dict[str, Any] = {
    "connect_args": CONNECTING | {"prepare_threshold": 1},
    "hide_parameters": True,  # an error's text would else carry what users wrote into the logs
}

POOL_SECONDS = 5.0
"""How long a request waits for a connection, behind all that came before it; then the client is told to come back."""


ANSWER_SECONDS = 5.0
"""How long Postgres may take for what every request needs; then it counts as away."""


async def in_time(answer: Awaitable[Answer]) -> Answer:
    """The answer. Raises OperationalError, as where Postgres is away, when it takes longer than a small look-up may."""
    patience = asyncio.timeout(ANSWER_SECONDS)
    try:
        async with patience:
            return await answer
    except TimeoutError as error:
        if not patience.expired():
            raise
        raise OperationalError(None, None, error, hide_parameters=True) from error


def connect(url: str, *, pool_size: int | None = None) -> AsyncEngine:
    """An engine with a pool of that size, or without one.

    Pooled connections belong to one event loop; a worker task runs in a fresh one and takes no pool. `pre_ping`
    costs a round trip and buys that a restarted Postgres fails no request.
    """
    if pool_size is None:
        return create_async_engine(url, poolclass=NullPool, **OPTIONS)
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        **OPTIONS,
    )


class Database:
    """Hands out sessions, each of which is one transaction."""

    def __init__(self, bind: AsyncEngine | AsyncConnection, **session_options: Any) -> None:
        self.bind = bind
        self._sessions = async_sessionmaker(bind, expire_on_commit=False, **session_options)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Commit if the block ends, roll back if it raises. Never held across a model call."""
        with tracing.span_apart("transaction", {"db.system.name": "postgresql"}):
            async with self._sessions.begin() as session:
                yield session

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncSession]:
        """The same for who only reads, and must see all of it as of one moment."""
        with tracing.span_apart("snapshot", {"db.system.name": "postgresql"}):
            async with self._sessions.begin() as session:
                await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                yield session

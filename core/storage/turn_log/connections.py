"""Connections for statements over many turns: planned once, for tables of any size, and kept open."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import orjson
import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

Connections = AsyncConnectionPool[AsyncConnection]
Row = TypeVar("Row")

ADDRESS_SECONDS = 5
"""How long to wait for Postgres to take a connection; then the request that needs it is answered 503."""

NESTED_LOOPS_ONLY = (
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET plan_cache_mode = force_generic_plan",
)
"""Each statement looks a few rows up by index. Planning it takes longer than running it, so it is planned once a
connection, and a plan that was made while the tables were empty must still be the right one when they are not."""


@asynccontextmanager
async def open_connections(address: str, size: int, *, durable: bool) -> AsyncIterator[Connections]:
    """At most `size` connections in autocommit. They come when Postgres does; nobody waits for it here.

    Where they are not `durable`, a commit is seen by all at once, and is on the disk with the next one that is.
    """

    async def configure(connection: AsyncConnection) -> None:
        for setting in NESTED_LOOPS_ONLY:
            await connection.execute(setting)
        if not durable:
            await connection.execute("SET synchronous_commit = off")

    pool: Connections = AsyncConnectionPool(
        address,
        kwargs={"autocommit": True, "prepare_threshold": 0, "connect_timeout": ADDRESS_SECONDS},
        min_size=size,
        max_size=size,
        timeout=ADDRESS_SECONDS,
        configure=configure,
        open=False,
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


async def with_cursor(connections: Connections, ask: Callable[[AsyncCursor], Awaitable[Row]]) -> Row:
    """What `ask` finds. A connection that Postgres closed while it was idle is passed over for a fresh one.

    `ask` may run twice: it has to be such that twice is as good as once. What Postgres refuses is raised as SQLAlchemy
    would raise it, so that whoever meets it meets one kind of error.
    """
    with _errors_as_sqlalchemys():
        try:
            return await _ask(connections, ask)
        except PoolTimeout:
            raise
        except psycopg.OperationalError:
            await connections.check()
            return await _ask(connections, ask)


async def _ask(connections: Connections, ask: Callable[[AsyncCursor], Awaitable[Row]]) -> Row:
    async with connections.connection() as connection:
        return await ask(connection.cursor(binary=True))


@asynccontextmanager
async def cursor_of(session: AsyncSession) -> AsyncIterator[AsyncCursor]:
    """A cursor in the session's own transaction."""
    connection = (await (await session.connection()).get_raw_connection()).driver_connection
    assert isinstance(connection, AsyncConnection)
    with _errors_as_sqlalchemys():
        yield connection.cursor(binary=True)


@contextmanager
def _errors_as_sqlalchemys() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True) from error


def as_json(rows: Sequence[object]) -> tuple[str]:
    """The rows as the one parameter of a statement over many: `json_to_recordset` reads it as a table.

    Arrays for `unnest` cost Python more than all else in a statement: psycopg looks at each value for its type.
    """
    return (orjson.dumps(rows, default=_in_postgres_hex).decode(),)


def _in_postgres_hex(value: object) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"no column takes a {type(value).__name__}")

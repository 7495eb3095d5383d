"""Connections for statements over many turns: planned once, for tables of any size, and kept open."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import orjson
import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.pq import TransactionStatus
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.database import CONNECTING, in_time

Row = TypeVar("Row")

NESTED_LOOPS_ONLY = (
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET plan_cache_mode = force_generic_plan",
    "SET jit = off",
)
"""Each statement looks a few rows up by index. Planning it takes longer than running it, so it is planned once a
connection, and a plan that was made while the tables were empty must still be the right one when they are not."""


class Connections:
    """As many, in autocommit, as there ever were askers at once; how many these are is theirs to bound.

    Where they are not `durable`, a commit is seen by all at once, and is on the disk with the next one that is.
    """

    def __init__(self, address: str, *, durable: bool) -> None:
        self.in_use = 0
        self._address = address
        self._settings = NESTED_LOOPS_ONLY if durable else (*NESTED_LOOPS_ONLY, "SET synchronous_commit = off")
        self._idle: list[AsyncConnection] = []

    @property
    def size(self) -> int:
        return len(self._idle) + self.in_use

    async def run(self, ask: Callable[[AsyncCursor], Awaitable[Row]]) -> Row:
        """What `ask` finds. Where the connection breaks, as one does that Postgres closed, a fresh one is tried.

        `ask` may run twice: it has to be such that twice is as good as once. What Postgres refuses, and that it does
        not answer, is raised as SQLAlchemy would raise it, so that whoever meets it meets one kind of error.
        """
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                return await self._run(connection, ask)
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
            await self.close()  # the others will have met the same
            return await self._run(await self._connect(), ask)
        except psycopg.Error as error:
            raise _as_sqlalchemys(error) from error

    async def _run(self, connection: AsyncConnection, ask: Callable[[AsyncCursor], Awaitable[Row]]) -> Row:
        self.in_use += 1
        try:
            return await in_time(ask(connection.cursor(binary=True)))
        finally:
            self.in_use -= 1
            if connection.info.transaction_status is TransactionStatus.IDLE:
                self._idle.append(connection)
            else:
                await connection.close()

    async def _connect(self) -> AsyncConnection:
        connection = await AsyncConnection.connect(self._address, autocommit=True, **CONNECTING)
        try:
            await connection.execute("; ".join(self._settings), prepare=False)
        except BaseException:
            await connection.close()
            raise
        connection.prepare_threshold = 0
        return connection

    async def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            await self._idle.pop().close()


@asynccontextmanager
async def open_connections(address: str, *, durable: bool) -> AsyncIterator[Connections]:
    """They are made when they are needed: nobody waits for Postgres here."""
    connections = Connections(address, durable=durable)
    try:
        yield connections
    finally:
        await connections.close()


@asynccontextmanager
async def cursor_of(session: AsyncSession) -> AsyncIterator[AsyncCursor]:
    """A cursor in the session's own transaction."""
    connection = (await (await session.connection()).get_raw_connection()).driver_connection
    assert isinstance(connection, AsyncConnection)
    try:
        yield connection.cursor(binary=True)
    except psycopg.Error as error:
        raise _as_sqlalchemys(error) from error


def _as_sqlalchemys(error: psycopg.Error) -> Exception:
    return DBAPIError.instance(None, None, error, psycopg.Error, hide_parameters=True)


def as_json(rows: Sequence[object]) -> tuple[str]:
    """The rows as the one parameter of a statement over many: `json_to_recordset` reads it as a table.

    Arrays for `unnest` cost Python more than all else in a statement: psycopg looks at each value for its type.
    """
    return (orjson.dumps(rows, default=_in_postgres_hex).decode(),)


def _in_postgres_hex(value: object) -> str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"no column takes a {type(value).__name__}")

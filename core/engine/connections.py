"""Connections to one engine, kept open between requests: as many as it has requests at once."""

import asyncio
import ssl
from collections.abc import Iterable
from urllib.parse import urlsplit

from core.domain.errors import EngineTimeoutError, EngineUnavailableError
from core.engine.connection import Connection

KEEP_ALIVE_SECONDS = 2.0
"""How long an idle connection is kept. vLLM closes one after 5 s: a request sent on it at that moment would fail."""


class Connections:
    def __init__(self, url: str, connect_seconds: float) -> None:
        address = urlsplit(url)
        self._host = address.hostname or ""
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._port = address.port or (443 if self._tls else 80)
        self._connect_seconds = connect_seconds
        self._idle: list[Connection] = []
        self._is_closed = False

    async def send(self, request: Iterable[bytes], deadline: float, silence: float | None) -> Connection:
        """The connection that the answer comes on; to be given back, whatever becomes of it.

        Raises EngineUnavailableError where there is none to be had, EngineTimeoutError where the time is over before.
        """
        connection = self._take_idle() or await self._connect(deadline)
        connection.send(request, deadline, silence)
        return connection

    def give_back(self, connection: Connection, *, was_read: bool = False) -> None:
        """Keep it for another request, where its answer has ended or `was_read` but for its end; else close it."""
        if self._is_closed or connection.is_lost or not (connection.is_complete or was_read):
            connection.abort()
            return
        connection.last_used = now = asyncio.get_running_loop().time()
        while self._idle and self._idle[0].last_used < now - KEEP_ALIVE_SECONDS:
            self._idle.pop(0).abort()
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().abort()

    def _take_idle(self) -> Connection | None:
        """The one that was used last, but for those whose last answer's end is still to come."""
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        for place in reversed(range(len(self._idle))):
            connection = self._idle[place]
            if connection.is_complete or connection.is_lost:
                del self._idle[place]
                if connection.last_used > oldest and connection.is_idle:
                    return connection
                connection.abort()
        return None

    async def _connect(self, deadline: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_seconds)):
                _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
                return connection
        except TimeoutError as error:
            if loop.time() >= deadline:
                raise EngineTimeoutError("The engine took too long.") from error
            raise EngineUnavailableError("The engine does not answer.") from error
        except (OSError, UnicodeError) as error:  # the latter is of a name that no name server can be asked for
            raise EngineUnavailableError("The engine does not answer.") from error

"""Work for a client that may hang up: then it is cancelled at once, and with it what others do for it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Scope

from core.domain.errors import NockError

Result = TypeVar("Result")

HANG_UP = "nock.hang_up"
"""Where a request's scope has its connection's HangUp. To wait for ASGI's word of it would take a task by request."""


class HungUpError(NockError):
    """Nobody is told; it stands in logs and figures."""

    code = "client_hung_up"


class HangUp:
    """The end of a client's connection, which serves one request after the other."""

    def __init__(self) -> None:
        self._has_happened = False
        self._waiting: asyncio.Timeout | None = None

    def happen(self) -> None:
        self._has_happened = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def cut(self, work: Awaitable[Result]) -> Result:
        """What the work returns. Raises HungUpError when the client has gone before."""
        patience = self._waiting = asyncio.timeout(0 if self._has_happened else None)
        try:
            async with patience:
                return await work
        except TimeoutError:
            if patience.expired():
                raise HungUpError("The client hung up.") from None
            raise
        finally:
            self._waiting = None


async def until_hang_up(scope: Scope, work: Awaitable[Result]) -> Result:
    """The same for the client of a request. Under a server whose connections tell nothing the work goes to its end."""
    hang_up: HangUp = scope.get(HANG_UP) or HangUp()
    return await hang_up.cut(work)

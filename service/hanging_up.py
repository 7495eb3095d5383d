"""Work for a client that may hang up: then it is cancelled at once, and with it what others do for it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from core.domain.errors import NockError

Result = TypeVar("Result")


class HungUpError(NockError):
    """Nobody is told; it stands in logs and figures."""

    code = "client_hung_up"


async def until_hang_up(request: Request, work: Awaitable[Result]) -> Result:
    """What the work returns. The request's body must have been read.

    Raises HungUpError when the client has gone before.
    """
    patience = asyncio.timeout(None)
    watching = asyncio.create_task(_end_at_hang_up(request, patience))
    try:
        async with patience:
            return await work
    except TimeoutError:
        if patience.expired():
            raise HungUpError("The client hung up.") from None
        raise
    finally:
        watching.cancel()


async def _end_at_hang_up(request: Request, patience: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(asyncio.get_running_loop().time())

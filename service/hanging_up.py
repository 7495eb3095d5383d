"""Work for a client that may hang up: then it is cancelled at once, and with it what others do for it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request

from core.domain.errors import NockError

Result = TypeVar("Result")


class HungUpError(NockError):
    """Nobody is told; it stands in logs and figures."""

    code = "client_hung_up"


async def until_hang_up(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work returns; its body must have been read. Raises HungUpError when the client has gone before."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HungUpError("The client hung up.")
        return working.result()
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await working


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

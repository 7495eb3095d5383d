"""How many requests are under way, whether one more is let in, and what they are told while the process leaves."""

import asyncio
from contextlib import suppress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RETRY_SECONDS, error_body

ALWAYS = {"/healthz", "/readyz", "/metrics"}
"""Most needed when nothing else gets through."""

LAST_SECONDS = 5.0
"""For requests that were cut to write down what they have."""


class Capacity:
    """The count of one process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self.is_leaving = False
        self._empty = asyncio.Event()
        self._empty.set()

    def begin(self) -> None:
        self.under_way += 1
        self._empty.clear()

    def end(self) -> None:
        self.under_way -= 1
        if not self.under_way:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Until the last request has ended, those included that were cut: they still write."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), LAST_SECONDS)


class CapacityLimit:
    """Refuses what is too much with 503, at once: who waits here could as well wait and try again."""

    def __init__(self, app: ASGIApp, capacity: Capacity) -> None:
        self.app = app
        self.capacity = capacity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        if self.capacity.under_way >= self.capacity.most:
            await _refuse("overloaded", "Too many requests are under way; try again.", scope, receive, send)
            return
        self.capacity.begin()
        try:
            await self._serve(scope, receive, send)
        finally:
            self.capacity.end()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False

        async def last(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                if self.capacity.is_leaving:  # else a client's next request could meet a connection that just closed
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await self.app(scope, receive, last)
        except asyncio.CancelledError:
            if has_started or not self.capacity.is_leaving:
                raise
            await _refuse("leaving", "The gateway is being stopped; try again.", scope, receive, send)


async def _refuse(code: str, message: str, scope: Scope, receive: Receive, send: Send) -> None:
    body = error_body(scope["path"], 503, code, message, None)
    await JSONResponse(body, 503, {"Retry-After": RETRY_SECONDS})(scope, receive, send)

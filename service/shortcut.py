"""The hot path's way around the framework: its request is answered before FastAPI looks for a route.

FastAPI still describes the route and would answer it just the same; finding it, solving its dependencies and unwinding
its exit stacks costs as much as all that the gateway itself does for a turn.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import errors, metrics


class Shortcut:
    def __init__(self, app: ASGIApp, path: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._path = path
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        with metrics.CHATS_IN_FLIGHT.track_inprogress():
            await self._answer_at_once(Request(scope, receive, send))

    async def _answer_at_once(self, request: Request) -> None:
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return  # nobody is left to be answered
        except Exception as error:
            handler = errors.handler_of(error)
            if handler is None:
                metrics.CHAT_REQUESTS.labels("500").inc()
                raise
            response = await handler(request, error)
        metrics.CHAT_REQUESTS.labels(str(response.status_code)).inc()
        await response(request.scope, request.receive, request._send)

"""Request bodies: how large they may be, and JSON read strictly (no NaN, no lone surrogates)."""

import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.domain.errors import RequestTooLargeError
from service.errors import error_body


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not hold a NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""A text that Postgres can hold."""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_without_nul)]
"""A name, a key or a source."""


Body = TypeVar("Body", bound=BaseModel)


def read_body(kind: type[Body], raw: bytes) -> Body:
    """The body of a route that reads it without FastAPI; raises what FastAPI would."""
    try:
        return kind.model_validate(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": "no JSON"}]) from error
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error


class StrictRequest(Request):
    """JSON by orjson, which refuses what no standard JSON holds."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = orjson.loads(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose body is read by StrictRequest, and as JSON whatever its declared type: `curl -d` says form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            scope = dict(request.scope, headers=[*others, (b"content-type", b"application/json")])
            return await handle(StrictRequest(scope, request.receive))

        return strictly


class BodyLimit:
    """Refuse bodies over the limit with 413, counted as they arrive: a client may lie about their length."""

    def __init__(self, app: ASGIApp, limit: int, larger: Mapping[re.Pattern[str], int]) -> None:
        """`larger`: the limits of paths that take more than the others."""
        self.app = app
        self.limit = limit
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = next((most for path, most in self.larger.items() if path.fullmatch(scope["path"])), self.limit)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await self._refuse(limit, scope, receive, send)
            return
        seen, over = 0, False

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            over = over or seen > limit
            if over:
                raise RequestTooLargeError(_too_large(limit))
            return message

        async def held_back(message: Message) -> None:
            if not over:  # whatever the app makes of a body that breaks off, the client is told why it did
                await send(message)

        with suppress(RequestTooLargeError):
            await self.app(scope, counted, held_back)
        if over:
            await self._refuse(limit, scope, receive, send)

    async def _refuse(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        body = error_body(scope["path"], 413, "request_too_large", _too_large(limit), None)
        await JSONResponse(body, 413)(scope, receive, send)


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit} bytes."

"""Request bodies: how large they may be, and JSON read strictly (no NaN, no lone surrogates, no abyss of brackets)."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.domain.errors import InvalidRequestError, NockError, RequestTooLargeError
from service.content_encoding import TAKEN, Unpacking, find_unpacking
from service.errors import error_body, status_of

MOST_LEVELS = 100
"""How deep a body may be nested: what walks through it must not depend on how much of Python's stack is left."""


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
        return kind.model_validate(read_json(raw))
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body",), "msg": "no JSON", "ctx": {"error": error.msg}}
        raise RequestValidationError([problem]) from error
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error


def read_json(raw: bytes) -> Any:
    """What the JSON says; of a name that is given twice the last one counts.

    By orjson, which refuses what no standard JSON holds. Raises JSONDecodeError.
    """
    value = orjson.loads(raw)
    if raw.count(b"[") + raw.count(b"{") > MOST_LEVELS and _is_deep(value):
        raise json.JSONDecodeError(f"it is nested deeper than {MOST_LEVELS} levels", "", 0)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


class BodyLimit:
    """Refuse bodies over the limit with 413, counted unpacked and as they arrive: a client may lie about their length.

    What comes compressed is passed on plain.
    """

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
        try:
            unpacking = find_unpacking(scope["headers"])
            declared = dict(scope["headers"]).get(b"content-length", b"0")
            if declared.isdigit() and int(declared) > limit:
                raise too_large(limit)
        except InvalidRequestError as error:
            await _refuse(error, scope, receive, send)
            return
        body = _Body(receive, limit, unpacking)

        async def held_back(message: Message) -> None:
            if body.refused is None:  # whatever the app makes of a body that breaks off, the client is told why it did
                await send(message)

        if unpacking is not None:
            headers = [
                header for header in scope["headers"] if header[0] not in (b"content-encoding", b"content-length")
            ]
            scope = dict(scope, headers=headers)
        with suppress(InvalidRequestError):
            await self.app(scope, body.receive, held_back)
        if body.refused is not None:
            await _refuse(body.refused, scope, receive, send)


class _Body:
    """A body on its way in, until it proves too large or not what it says."""

    def __init__(self, receive: Receive, limit: int, unpacking: Unpacking | None) -> None:
        self.refused: InvalidRequestError | None = None
        self._receive = receive
        self._limit = limit
        self._unpacking = unpacking
        self._arrived = 0
        self._passed = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if self.refused is None and message["type"] == "http.request":
            try:
                message = self._read(message)
            except InvalidRequestError as error:
                self.refused = error
        if self.refused is not None:
            raise self.refused
        return message

    def _read(self, message: Message) -> Message:
        body: bytes = message.get("body", b"")
        self._arrived += len(body)
        if self._arrived > self._limit:
            raise too_large(self._limit)
        if self._unpacking is None:
            return message
        body = self._unpacking.unpack(body, self._limit + 1 - self._passed)
        self._passed += len(body)
        if self._passed > self._limit:
            raise too_large(self._limit)
        if not message.get("more_body", False):
            self._unpacking.end()
        return {**message, "body": body}


async def _refuse(error: NockError, scope: Scope, receive: Receive, send: Send) -> None:
    status = status_of(error)
    headers = {"Accept-Encoding": TAKEN} if status == 415 else {}
    body = error_body(scope["path"], status, error.code, error.message, error.param)
    await JSONResponse(body, status, headers)(scope, receive, send)


def too_large(limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"The body is larger than {limit} bytes.")

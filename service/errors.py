"""Which status code each failure is, and the two shapes of its body: OpenAI's under /v1, ours elsewhere."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from core.domain.errors import (
    ConflictError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    GoneError,
    InvalidRequestError,
    InvalidValueError,
    LimitReachedError,
    LimitsUnavailableError,
    NockError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    RequestTooLargeError,
    UnsupportedEncodingError,
)
from service.hanging_up import HungUpError

log = structlog.get_logger()

STATUS: dict[type[NockError], int] = {
    InvalidRequestError: 400,
    InvalidValueError: 422,
    RequestTooLargeError: 413,
    UnsupportedEncodingError: 415,
    NotAuthenticatedError: 401,
    NotAllowedError: 403,
    NotFoundError: 404,
    GoneError: 410,
    ConflictError: 409,
    LimitReachedError: 429,
    LimitsUnavailableError: 503,
    EngineError: 502,
    EngineRefusedError: 400,
    EngineTimeoutError: 504,
    EngineUnavailableError: 503,
    HungUpError: 499,
    NockError: 500,
}

OPENAI_TYPE = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

RETRY_SECONDS = "2"
"""What a client is told to wait when an engine or Postgres is away: both come back within seconds or not soon."""

LONGEST_PATIENCE_SECONDS = 60
"""OpenAI's clients take no longer Retry-After for one: they would try again at once, so they are told not to."""


class ErrorDetail(BaseModel):
    code: str
    message: str
    param: str | None = None


class ErrorBody(BaseModel):
    """Every error outside /v1."""

    error: ErrorDetail


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    code: str | None = None
    param: str | None = None


class OpenAIErrorBody(BaseModel):
    """Every error under /v1."""

    error: OpenAIErrorDetail


def status_of(error: NockError) -> int:
    """The status of the nearest ancestor that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(path: str, status: int, code: str, message: str, param: str | None) -> dict[str, Any]:
    """The error as clients of this path expect it."""
    if path.startswith("/v1/"):
        kind = OPENAI_TYPE.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return {"error": {"message": message, "type": kind, "code": code, "param": param}}
    return {"error": {"code": code, "message": message, "param": param}}


def respond(request: Request, status: int, code: str, message: str, param: str | None = None) -> JSONResponse:
    headers = {"Retry-After": RETRY_SECONDS} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(request.url.path, status, code, message, param), status, headers)


async def on_nock_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NockError)
    status = status_of(error)
    if status == 422 and request.url.path.startswith("/v1/"):
        status = 400
    if isinstance(error, LimitReachedError):
        return _respond_limited(request, status, error)
    return respond(request, status, error.code, error.message, error.param)


def _respond_limited(request: Request, status: int, error: LimitReachedError) -> JSONResponse:
    """With what is left of the limits, and the whole seconds after which the same request is let in."""
    wait = max(1, math.ceil(error.wait_seconds))
    headers = {**error.headers, "Retry-After": str(wait)}
    if wait > LONGEST_PATIENCE_SECONDS:
        headers["x-should-retry"] = "false"
    body = error_body(request.url.path, status, error.code, error.message, error.param)
    if request.url.path.startswith("/v1/"):
        body["error"]["type"] = error.of if error.code == LimitReachedError.code else error.code
    return JSONResponse(body, status, headers)


async def on_invalid_body(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with the body, in one sentence and without echoing what was sent."""
    assert isinstance(error, RequestValidationError)
    status = 400 if request.url.path.startswith("/v1/") else 422
    found = as_invalid_value(error.errors())
    return respond(request, status, found.code, found.message, found.param)


def as_invalid_value(problems: Sequence[Any]) -> InvalidValueError:
    """The first of what pydantic found wrong with a body."""
    first = problems[0]
    param = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or None
    if first["type"] == "json_invalid":
        return InvalidValueError(f"The body is not JSON: {first['ctx']['error']}.", code="invalid_json")
    return InvalidValueError(f"{param or 'body'}: {first['msg'].removeprefix('Value error, ')}", param=param)


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return respond(request, error.status_code, code, f"{request.method} here: {error.detail}.")


async def on_database_away(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)
    if isinstance(error, DataError):
        status = 400 if request.url.path.startswith("/v1/") else 422
        return respond(request, status, "invalid_value", "The request holds a character that cannot be stored.")
    log.error("database failed", **database_failure(error))
    if isinstance(error, OperationalError) or getattr(error, "connection_invalidated", False):
        return respond(request, 503, "database_unavailable", "The database does not answer.")
    return respond(request, 500, "internal_error", "Something failed here; it was logged.")


def database_failure(error: DBAPIError) -> dict[str, str | None]:
    """What the log may say of it: Postgres' own sentence may quote the row, and so what users wrote."""
    return {"kind": type(error.orig).__name__, "sqlstate": getattr(error.orig, "sqlstate", None)}


async def on_busy_pool(request: Request, error: Exception) -> JSONResponse:
    return respond(request, 503, "database_unavailable", "The database has no connection free.")


async def on_anything(request: Request, error: Exception) -> JSONResponse:
    """No stack trace leaves: the log has it."""
    return respond(request, 500, "internal_error", "Something failed here; it was logged.")


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    NockError: on_nock_error,
    RequestValidationError: on_invalid_body,
    HTTPException: on_http_error,
    DBAPIError: on_database_away,
    PoolTimeoutError: on_busy_pool,
}


def handler_of(error: Exception) -> Callable[[Request, Exception], Awaitable[JSONResponse]] | None:
    """Who answers an error that is expected; nobody for one that is not."""
    return next((handler for kind, handler in HANDLERS.items() if isinstance(error, kind)), None)


def install(app: FastAPI) -> None:
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(Exception, on_anything)

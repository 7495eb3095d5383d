"""What can go wrong, as exceptions with the gateway's own words."""

from typing import Any

import httpx


class NockError(Exception):
    """A refusal, or an answer that makes no sense. `status` is HTTP's, or None where none could be read; `param` names
    the field that was wrong."""

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.param = param
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} ({self.status or 'no answer'}, {self.code})"


class UnreachableError(NockError):
    """No answer came, however often it was asked. A call that is not repeatable may have done its work."""


class NotAuthenticatedError(NockError):
    """401: no key, or none that is valid."""


class NotAllowedError(NockError):
    """403: the key lacks the scope."""


class NotFoundError(NockError):
    """404: it is not there, or not for this key."""


class ConflictError(NockError):
    """409: it contradicts what is there; the message says what."""


class GoneError(NockError):
    """410: it was erased."""


class InvalidError(NockError):
    """400, 413, 415 or 422: the request itself is wrong."""


class LimitedError(NockError):
    """429: too much at once; `retry_after` says for how many seconds."""


class ServiceError(NockError):
    """5xx: Nock or its engine failed."""


class UnavailableError(ServiceError):
    """503: Postgres or every engine is away, and still was after the last try."""


KINDS: dict[int, type[NockError]] = {
    400: InvalidError,
    401: NotAuthenticatedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
    429: LimitedError,
    503: UnavailableError,
}


def from_answer(answer: httpx.Response) -> NockError:
    """The exception for an answer that is no success, or no JSON; a proxy's page is quoted in part."""
    status = answer.status_code
    kind = KINDS.get(status, ServiceError if status >= 500 else NockError)
    told = _told(answer)
    return kind(
        str(told.get("message") or f"{answer.request.url} answered {answer.text[:200]!r}"),
        code=str(told.get("code") or "unexpected"),
        status=status,
        param=told.get("param"),
        retry_after=retry_after(answer),
    )


def retry_after(answer: httpx.Response) -> float | None:
    """The seconds that the answer asks to wait. Nock says seconds; a proxy's date is not understood."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _told(answer: httpx.Response) -> dict[str, Any]:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}

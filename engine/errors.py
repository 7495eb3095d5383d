"""What can go wrong with a request, each with the status and the type that vLLM gives it."""

from typing import Any


class StartError(Exception):
    """The engine cannot start; the message is one sentence that says what to do."""


class RequestError(Exception):
    """A request that gets no completion."""

    status = 400
    type = "BadRequestError"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidInputError(RequestError):
    """An adapter call that contradicts what is loaded."""

    type = "InvalidUserInput"


class NotFoundError(RequestError):
    """A model or adapter that is not served, or an adapter folder that is not there."""

    status = 404
    type = "NotFoundError"


class AdapterLoadError(RequestError):
    """An adapter that was found and cannot be used; vLLM answers 500 where 422 would be kinder, and so do we."""

    status = 500
    type = "InternalServerError"


class BusyError(RequestError):
    """The waiting line is full, or the engine is shutting down."""

    status = 503
    type = "Service Unavailable"


class EngineDeadError(RequestError):
    """The decode loop has died; nothing will be generated until a restart."""

    status = 500
    type = "InternalServerError"


class BrokenWeightsError(RequestError):
    """A model or adapter whose arithmetic overflows."""

    status = 500
    type = "InternalServerError"


def error_body(message: str, type_: str, code: int, param: str | None = None) -> dict[str, Any]:
    """vLLM's error object."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}

"""What can go wrong, said in the product's words; knows nothing of status codes or JSON.

NockError
├── InvalidRequestError          the request itself makes no sense
│   ├── InvalidValueError        a well-formed field holds a value that does not fit
│   ├── RequestTooLargeError
│   └── UnsupportedEncodingError
├── NotAuthenticatedError
├── NotAllowedError
├── NotFoundError
├── GoneError                    it was there and was erased
├── LimitReachedError            the key, or the end user, has used up what it may
├── LimitsUnavailableError       nobody can tell whether it has
├── ConflictError
│   ├── DamagedAdapterError      the files of a version are not what was registered
│   └── NoRoomError              versions that somebody needs hold every place in the engines
└── EngineError                  the engine answered, but not with a reply
    ├── EngineRefusedError       it says that the request is at fault
    ├── EngineTimeoutError
    │   └── EngineSilentError    nothing comes from it, though the time for the reply is not over
    └── EngineUnavailableError   no healthy engine can take the request now
        ├── BaseModelNotServedError
        └── EngineBusyError      it is healthy, and full
            └── OverloadedError  by this gateway's own count
"""


class NockError(Exception):
    """A failure that the caller can be told about: a stable `code`, a sentence, and the field at fault if any."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param


class InvalidRequestError(NockError):
    code = "invalid_request"


class InvalidValueError(InvalidRequestError):
    code = "invalid_value"


class RequestTooLargeError(InvalidRequestError):
    code = "request_too_large"


class UnsupportedEncodingError(InvalidRequestError):
    code = "unsupported_encoding"


class NotAuthenticatedError(NockError):
    code = "invalid_api_key"


class NotAllowedError(NockError):
    code = "missing_scope"


class NotFoundError(NockError):
    code = "not_found"


class GoneError(NockError):
    code = "erased"


class ConflictError(NockError):
    code = "conflict"


class LimitReachedError(NockError):
    """`of`: what there was too much of, requests or tokens. `wait_seconds`: when there is room again.
    `headers`: what is left, as clients read it."""

    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        of: str = "requests",
        wait_seconds: float = 0.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.of = of
        self.wait_seconds = wait_seconds
        self.headers = headers or {}


class LimitsUnavailableError(NockError):
    code = "limits_unavailable"


class DamagedAdapterError(ConflictError):
    code = "damaged_adapter"


class NoRoomError(ConflictError):
    code = "no_room"


class EngineError(NockError):
    code = "engine_failed"


class EngineRefusedError(EngineError):
    code = "engine_refused"


class EngineTimeoutError(EngineError):
    code = "engine_timeout"


class EngineSilentError(EngineTimeoutError):
    code = "engine_silent"


class EngineUnavailableError(EngineError):
    code = "no_healthy_engine"


class EngineBusyError(EngineUnavailableError):
    code = "engine_busy"


class OverloadedError(EngineBusyError):
    code = "overloaded"


class BaseModelNotServedError(EngineUnavailableError):
    code = "base_model_not_served"

"""A client for what OpenAI's does not have: outcomes, conversations, learning, versions, keys. It needs only httpx."""

from nock_client import calls
from nock_client.asynchronous import AsyncNock
from nock_client.blocking import Nock
from nock_client.call import Call
from nock_client.errors import (
    ConflictError,
    GoneError,
    InvalidError,
    LimitedError,
    NockError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    ServiceError,
    UnavailableError,
    UnreachableError,
)

__all__ = [
    "AsyncNock",
    "Call",
    "ConflictError",
    "GoneError",
    "InvalidError",
    "LimitedError",
    "Nock",
    "NockError",
    "NotAllowedError",
    "NotAuthenticatedError",
    "NotFoundError",
    "ServiceError",
    "UnavailableError",
    "UnreachableError",
    "calls",
]

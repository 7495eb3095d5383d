"""What routes ask for: the gateway's parts, a session that commits before the answer leaves, a key with a scope."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import feedback_tokens
from core.domain.errors import NotAllowedError, NotAuthenticatedError, NotFoundError
from core.domain.feedback_tokens import FeedbackToken
from core.domain.keys import Key, Scope
from service.gateway import Gateway

bearer = HTTPBearer(
    auto_error=False, description="`Authorization: Bearer nk_…`; `POST /feedback` takes a reply's `nkf_…` too."
)
Given = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


async def get_gateway(request: Request) -> Gateway:
    # A coroutine, though it awaits nothing: FastAPI runs plain functions in threads.
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDep = Annotated[Gateway, Depends(get_gateway)]


async def open_session(gateway: GatewayDep) -> AsyncIterator[AsyncSession]:
    async with gateway.database.transaction() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(open_session, scope="function")]
"""One transaction a request; `scope="function"` commits it before the answer leaves, so that 201 means stored."""


async def get_key(gateway: GatewayDep, given: Given) -> Key:
    if given is None or not given.credentials:
        raise NotAuthenticatedError("Send an API key: `Authorization: Bearer nk_…`.", code="missing_api_key")
    return await gateway.keys.find(given.credentials)


AnyKeyDep = Annotated[Key, Depends(get_key)]


def credentials_of(request: Request) -> HTTPAuthorizationCredentials | None:
    """What a request presents, read without FastAPI."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    given = HTTPAuthorizationCredentials(scheme=scheme, credentials=secret.strip())
    return given if scheme.lower() == "bearer" else None


async def key_of(gateway: Gateway, request: Request, *scopes: Scope) -> Key:
    """The key of a request that is read without FastAPI, if it has one of the scopes."""
    return await needs(*scopes)(await get_key(gateway, credentials_of(request)))


def needs(*scopes: Scope) -> Callable[[Key], Awaitable[Key]]:
    """A dependency that lets a key pass which has one of the scopes."""

    async def check(key: AnyKeyDep) -> Key:
        if not key.has(scopes):
            raise NotAllowedError(f"This key lacks the scope {' or '.join(scopes)}.")
        return key

    return check


ChatKeyDep = Annotated[Key, Depends(needs(Scope.CHAT))]
TurnKeyDep = Annotated[Key, Depends(needs(Scope.CHAT, Scope.ADMIN))]
CloseKeyDep = Annotated[Key, Depends(needs(Scope.CHAT, Scope.FEEDBACK, Scope.ADMIN))]
FeedbackKeyDep = Annotated[Key, Depends(needs(Scope.FEEDBACK))]
AdminKeyDep = Annotated[Key, Depends(needs(Scope.ADMIN))]


async def get_sender(gateway: GatewayDep, given: Given) -> Key | FeedbackToken:
    """A key, or the holder of a turn's token."""
    if given is not None and given.credentials.startswith(feedback_tokens.PREFIX):
        return feedback_tokens.read(gateway.signer, given.credentials, datetime.now(UTC))
    return await get_key(gateway, given)


async def get_feedback_sender(sender: Annotated[Key | FeedbackToken, Depends(get_sender)]) -> Key | FeedbackToken:
    """Who posts an outcome: a key with the scope, or the holder of a turn's token."""
    return sender if isinstance(sender, FeedbackToken) else await needs(Scope.FEEDBACK)(sender)


FeedbackSenderDep = Annotated[Key | FeedbackToken, Depends(get_feedback_sender)]


def check_sees(key: Key, agent: str, code: str = "agent_not_found") -> None:
    """An agent that a key may not see does not exist for it."""
    if not key.sees(agent):
        raise NotFoundError(f"There is no agent {agent!r}.", code=code)

"""GET /conversations/{id} and POST /conversations/{id}/close."""

from typing import Any

from fastapi import APIRouter

from core.domain.episodes import EpisodeEnd
from core.outcomes import settling
from core.storage.repositories import conversations
from service.conversations.finding import find_conversation
from service.conversations.schemas import ConversationOut
from service.conversations.showing import show
from service.dependencies import CloseKeyDep, GatewayDep, SessionDep, TurnKeyDep
from service.errors import ErrorBody
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 410, 422, 503)
}

router = APIRouter(prefix="/conversations", tags=["conversations"], route_class=StrictRoute, responses=ERRORS)


@router.get("/{conversation_id:path}")
async def get_conversation(
    conversation_id: str,
    gateway: GatewayDep,
    session: SessionDep,
    key: TurnKeyDep,
    agent: str | None = None,
    tokens: bool = False,
) -> ConversationOut:
    """A conversation by the service's id or the client's: turns, outcomes, versions, state. 410: it was erased."""
    found = await find_conversation(session, gateway.signer, key, conversation_id, agent)
    return await show(session, found, tokens=tokens)


@router.post("/{conversation_id:path}/close")
async def close_conversation(
    conversation_id: str, gateway: GatewayDep, session: SessionDep, key: CloseKeyDep, agent: str | None = None
) -> ConversationOut:
    """Say that no further turn will come; the outcome may come later. A second close changes nothing."""
    found = await find_conversation(session, gateway.signer, key, conversation_id, agent)
    conversation = await conversations.lock_conversation(session, found.id)
    await settling.end(session, conversation, EpisodeEnd.CLOSED)
    await session.refresh(conversation)
    return await show(session, conversation, tokens=False)

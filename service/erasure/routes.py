"""DELETE /conversations/{id}, DELETE /users/{user}, GET /admin/erasures and GET /admin/erasures/{id}."""

from typing import Any

from fastapi import APIRouter

from core.domain import ids
from core.domain.keys import Key
from core.storage.models import Erasure
from core.storage.repositories import erasures
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep
from service.erasure import service
from service.erasure.schemas import ErasureOut, Erasures
from service.erasure.showing import show
from service.errors import ErrorBody
from service.gateway import Gateway
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 403, 404, 409, 422, 503)}

router = APIRouter(tags=["erasure"], route_class=StrictRoute, responses=ERRORS)


@router.delete("/conversations/{conversation_id:path}")
async def erase_conversation(
    conversation_id: str, gateway: GatewayDep, key: AdminKeyDep, agent: str | None = None
) -> ErasureOut:
    """Erase a conversation and all that repeats it: text, tokens, outcomes. Again: the same report."""
    async with gateway.database.transaction() as session:
        erasure = await service.erase_conversation(session, gateway.signer, key, conversation_id, agent)
    return await _answer(gateway, key, erasure)


@router.delete("/users/{user:path}")
async def erase_user(user: str, gateway: GatewayDep, key: AdminKeyDep, agent: str | None = None) -> ErasureOut:
    """Erase every conversation of an end user, with one agent or all that the key may see. Again: the same report.

    A user who comes back is a new one.
    """
    async with gateway.database.transaction() as session:
        erasure = await service.erase_user(session, gateway.signer, key, user, agent)
    return await _answer(gateway, key, erasure)


@router.get("/admin/erasures")
async def list_erasures(session: SessionDep, key: AdminKeyDep, after: str | None = None, limit: int = 100) -> Erasures:
    """What was erased, newest first."""
    start = ids.parse(ids.Prefix.ERASURE, after) if after else None
    most = min(max(limit, 1), 1000)
    rows = await erasures.list_erasures(session, agents=key.agents, after=start, limit=most)
    data = [show(row, key) for row in rows]
    return Erasures(data=data, next=data[-1].erasure_id if len(data) == most else None)


@router.get("/admin/erasures/{erasure_id}")
async def get_erasure(erasure_id: str, session: SessionDep, key: AdminKeyDep) -> ErasureOut:
    """One report, as it was answered."""
    return show(await service.get_erasure(session, key, erasure_id), key)


async def _answer(gateway: Gateway, key: Key, erasure: Erasure) -> ErasureOut:
    """This process follows a version that was retired before it answers, the others within the notification."""
    await gateway.routing.refresh(gateway.database)
    return show(erasure, key)

"""GET /admin/audit."""

from typing import Any

from fastapi import APIRouter

from core.domain import ids
from core.domain.keys import Key
from core.storage.models import AuditEntry
from core.storage.repositories import audit
from service.audit.schemas import Audit, AuditOut
from service.dependencies import AdminKeyDep, SessionDep, check_sees
from service.errors import ErrorBody
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 403, 404, 422, 503)}

router = APIRouter(prefix="/admin", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.get("/audit")
async def list_audit(
    session: SessionDep,
    key: AdminKeyDep,
    agent: str | None = None,
    action: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Audit:
    """What administrators did, newest first. A key of some agents sees the acts that touched one of them."""
    if agent is not None:
        check_sees(key, agent)
    start = ids.parse(ids.Prefix.AUDIT, after) if after else None
    most = min(max(limit, 1), 1000)
    rows = await audit.list_entries(session, seen=key.agents, agent=agent, action=action, after=start, limit=most)
    data = [_show(row, key) for row in rows]
    return Audit(data=data, next=data[-1].audit_id if len(data) == most else None)


def _show(row: AuditEntry, key: Key) -> AuditOut:
    return AuditOut(
        audit_id=ids.public(ids.Prefix.AUDIT, row.id),
        at=row.at,
        by=row.by,
        action=row.action,
        agents=None if row.agents is None else [agent for agent in row.agents if key.sees(agent)],
        subject=row.subject,
        details=row.details,
    )

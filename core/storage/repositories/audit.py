"""The log of what administrators did."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import AuditEntry


async def record(
    session: AsyncSession,
    action: str,
    *,
    by: str,
    agents: Collection[str] | None,
    subject: str | None = None,
    **details: Any,
) -> None:
    """Note an act in the transaction that does it. Details hold no secret and nothing that a user wrote."""
    touched = None if agents is None else sorted(agents)
    session.add(AuditEntry(by=by, action=action, agents=touched, subject=subject, details=details))
    await session.flush()


async def list_entries(
    session: AsyncSession,
    *,
    seen: Collection[str] | None,
    agent: str | None,
    action: str | None,
    after: UUID | None,
    limit: int,
) -> Sequence[AuditEntry]:
    """Newest first; those that touched one of the agents `seen` (None: all acts)."""
    statement = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    for touched in (seen, None if agent is None else [agent]):
        if touched is not None:
            statement = statement.where(AuditEntry.agents.bool_op("&&")(literal(sorted(touched), ARRAY(Text))))
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    if after is not None:
        statement = statement.where(AuditEntry.id < after)
    return (await session.scalars(statement)).all()

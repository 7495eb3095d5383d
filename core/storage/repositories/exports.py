"""The record of what was exported."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import Export
from core.storage.models.base import Json


async def add_export(session: AsyncSession, export: Export) -> None:
    session.add(export)
    await session.flush()


async def find_export(session: AsyncSession, export_id: UUID) -> Export | None:
    return await session.get(Export, export_id)


async def end_export(session: AsyncSession, export: Export, counts: Json, manifest_sha256: str) -> None:
    export.ended_at = func.clock_timestamp()
    export.counts = counts
    export.manifest_sha256 = manifest_sha256
    await session.flush()


async def list_covering(session: AsyncSession, agent_id: UUID, opened: Collection[datetime]) -> Sequence[Export]:
    """The agent's exports that may hold a conversation opened at one of these times, oldest first."""
    found = await session.scalars(select(Export).where(Export.agent_id == agent_id).order_by(Export.id))
    return [export for export in found if any(_covers(export, one) for one in opened)]


def _covers(export: Export, opened: datetime) -> bool:
    is_after = export.since is None or opened >= export.since
    return is_after and opened < export.snapshot_at and (export.until is None or opened < export.until)

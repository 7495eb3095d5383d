"""The record of what was exported."""

from uuid import UUID

from sqlalchemy import func
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

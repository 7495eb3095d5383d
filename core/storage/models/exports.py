"""What left the database as files: erasing a row takes nothing out of them, so it must be known that they are there."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.models.base import Json, WithId, created_now


class Export(WithId):
    """One export of an agent's conversations that were opened from `since` until before `until` and `snapshot_at`.

    Written before its first file is. One that never ended may have left files all the same.
    """

    __tablename__ = "exports"
    __table_args__ = (Index("ix_exports_agent_id", "agent_id"),)

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    place: Mapped[str]
    """Machine and folder that it was written to."""
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    snapshot_at: Mapped[datetime]
    with_tokens: Mapped[bool]
    started_at: Mapped[datetime] = created_now()
    ended_at: Mapped[datetime | None]
    counts: Mapped[Json | None]
    manifest_sha256: Mapped[str | None]

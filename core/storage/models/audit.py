"""Who did what as an administrator: rows are added and never changed or removed."""

from datetime import datetime

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.models.base import Json, WithId, created_now


class AuditEntry(WithId):
    """One act, written in its transaction. It names no person and quotes nothing, so it may be kept for ever."""

    __tablename__ = "audit_log"

    at: Mapped[datetime] = created_now()
    by: Mapped[str]
    """The public id of the key that was presented, or the command that went straight to the database."""
    action: Mapped[str]
    """The noun and what became of it: `key.create`, `rollout.promote`."""
    agents: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    """The agents that it touched; None where it may touch any."""
    subject: Mapped[str | None]
    """The public id or name of what it was done to."""
    details: Mapped[Json]

"""What is to be told to the outside, written in the transaction that it tells of."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.models.base import Json, WithId, created_now


class OutboxMessage(WithId):
    """One message to the webhook; delivered at least once, its id tells repetitions apart."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_waiting", "next_attempt_at", postgresql_where="ended_at IS NULL"),)

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    kind: Mapped[str]
    body: Mapped[Json]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime] = created_now()
    last_error: Mapped[str | None]
    delivered_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """When it was delivered or given up."""
    created_at: Mapped[datetime] = created_now()

"""What was found out about a version before anybody met it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.canaries import EvaluationKind, EvaluationState
from core.storage.models.base import Json, WithId, created_now, text_enum


class Evaluation(WithId):
    """One look at a version, as a row first: losing the queue loses nothing. The newest of its kind counts."""

    __tablename__ = "evaluations"
    __table_args__ = (
        Index(
            "uq_evaluations_active",
            "adapter_id",
            "kind",
            unique=True,
            postgresql_where="state IN ('queued', 'running')",
        ),
        Index("ix_evaluations_adapter_id_kind_id", "adapter_id", "kind", "id"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"))
    kind: Mapped[EvaluationKind] = mapped_column(text_enum(EvaluationKind))
    state: Mapped[EvaluationState] = mapped_column(text_enum(EvaluationState), default=EvaluationState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    lease_holder: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    figures: Mapped[Json | None]
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = created_now()
    ended_at: Mapped[datetime | None]

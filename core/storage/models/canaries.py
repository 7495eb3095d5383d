"""Canaries: versions on trial, and the units whose outcomes decide about them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.canaries import CanaryState
from core.domain.episodes import Arm
from core.storage.models.base import Base, Json, WithId, created_now, text_enum


class Canary(WithId):
    """One version's trial beside the stable one of its time. At most one runs an agent."""

    __tablename__ = "canaries"
    __table_args__ = (
        Index("uq_canaries_running", "agent_id", unique=True, postgresql_where="state = 'running'"),
        Index("ix_canaries_adapter_id", "adapter_id"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"))
    stable_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"))
    state: Mapped[CanaryState] = mapped_column(text_enum(CanaryState), default=CanaryState.RUNNING)
    gates: Mapped[Json]
    """What decides, as it was declared when the trial began: a change of the agent moves no goal of a running trial."""
    measures: Mapped[list[Any]] = mapped_column(JSONB)
    """What is looked at: the return and each guard, with range and margin (core.domain.gates)."""
    weight: Mapped[float]
    """The share of new conversations now, as in the rollout's row."""
    weight_since: Mapped[datetime] = created_now()
    by: Mapped[str]
    reason: Mapped[str]
    started_at: Mapped[datetime] = created_now()
    entered_until: Mapped[datetime | None]
    entered_id: Mapped[UUID | None]
    """When the last episode that entered began, and its id: none before it enters again."""
    verdict: Mapped[str | None]
    evidence: Mapped[Json | None]
    """What the last look saw: the test, gate by gate, and the alarms."""
    looked_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class CanaryUnit(Base):
    """One unit of a trial as it stood when its window had passed: it never changes, for what was tested has been.

    It outlives the erasure of its conversation as a number that belongs to nobody.
    """

    __tablename__ = "canary_units"
    __table_args__ = (
        Index("ix_canary_units_conversation_id", "conversation_id", postgresql_where="conversation_id IS NOT NULL"),
    )

    canary_id: Mapped[UUID] = mapped_column(ForeignKey("canaries.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    arm: Mapped[Arm] = mapped_column(text_enum(Arm))
    weight: Mapped[float]
    """The canary's share when its conversation began: the stage that it belongs to."""
    outcomes: Mapped[Json]
    """Gate by gate what it came to, higher being better; a gate without an outcome is missing."""
    entered_at: Mapped[datetime] = created_now()

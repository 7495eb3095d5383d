"""Adapter versions, which never change, and the rollout row, which says which of them is in service."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.adapters import AdapterState
from core.domain.erasure import ErasurePolicy
from core.storage.models.base import Base, Json, WithId, created_now, text_enum


class AdapterVersion(WithId):
    """One LoRA of one agent; number 0 is the base model itself, without path or checksum. Only `state` and
    `taught_by_erased` move."""

    __tablename__ = "adapter_versions"
    __table_args__ = (UniqueConstraint("agent_id", "number"),)

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    number: Mapped[int]
    state: Mapped[AdapterState] = mapped_column(text_enum(AdapterState))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("adapter_versions.id"))
    run_id: Mapped[UUID | None]
    path: Mapped[str | None]
    sha256: Mapped[str | None]
    evidence: Mapped[Json | None]
    changed_share: Mapped[float | None]
    """Of the turns that taught it, those that have another reward by now or none; None until somebody has looked."""
    changed_share_at: Mapped[datetime | None]
    taught_by_erased: Mapped[ErasurePolicy | None] = mapped_column(text_enum(ErasurePolicy))
    """Set once something that it learned from was erased: the policy that its agent had for that."""
    created_at: Mapped[datetime] = created_now()


class Rollout(Base):
    """One row an agent: the pointer that promotion and rollback move. `generation` makes each move compare-and-set."""

    __tablename__ = "rollouts"

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"), primary_key=True)
    stable_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"))
    previous_id: Mapped[UUID | None] = mapped_column(ForeignKey("adapter_versions.id"))
    canary_id: Mapped[UUID | None] = mapped_column(ForeignKey("canaries.id", use_alter=True))
    """The trial that runs now."""
    weight: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """The share of new conversations that meet the version on trial."""
    generation: Mapped[int] = mapped_column(default=1)
    by: Mapped[str]
    reason: Mapped[str]
    since: Mapped[datetime] = created_now()


class RolloutEvent(WithId):
    """One move of the pointer: from where to where, who, why, on what evidence."""

    __tablename__ = "rollout_events"
    __table_args__ = (Index("ix_rollout_events_agent_id", "agent_id"),)

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    generation: Mapped[int]
    kind: Mapped[str]
    from_id: Mapped[UUID | None]
    to_id: Mapped[UUID]
    by: Mapped[str]
    reason: Mapped[str]
    evidence: Mapped[Json]
    created_at: Mapped[datetime] = created_now()


class EngineResidency(Base):
    """Which engine holds which version, or is to hold it until a promotion has moved the pointer.

    Gateways ask a version only of engines that were seen to hold it. Rebuilt by looking, so it may be lost.
    """

    __tablename__ = "engine_residency"

    engine_url: Mapped[str] = mapped_column(primary_key=True)
    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"), primary_key=True)
    seen_at: Mapped[datetime | None]
    """When it was last seen to hold the version, under which it has answered; None while it does not."""
    wanted_until: Mapped[datetime | None]

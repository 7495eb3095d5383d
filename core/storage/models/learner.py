"""Learner runs, what taught them, and the leases that keep one worker at one job."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.erasure import ErasurePolicy
from core.storage.models.base import Base, Json, WithId, created_now, text_enum


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    FAILED = "failed"


class LearnerRun(WithId):
    """One learner step as a row first: losing the queue loses nothing. At most one is queued or running an agent."""

    __tablename__ = "learner_runs"
    __table_args__ = (
        Index("uq_learner_runs_active", "agent_id", unique=True, postgresql_where="state IN ('queued', 'running')"),
        Index("ix_learner_runs_agent_id_created_at", "agent_id", "created_at"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    state: Mapped[RunState] = mapped_column(text_enum(RunState), default=RunState.QUEUED)
    requested_by: Mapped[str]
    progress: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    lease_holder: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    configuration: Mapped[Json | None]
    watermark: Mapped[datetime | None]
    figures: Mapped[Json | None]
    reason: Mapped[str | None]
    adapter_id: Mapped[UUID | None] = mapped_column(ForeignKey("adapter_versions.id"))
    critic_run_id: Mapped[UUID | None]
    """The run whose critic this one went on from."""
    erased_turns: Mapped[int] = mapped_column(default=0, server_default="0")
    """Of the turns that taught it, those that are gone since."""
    taught_by_erased: Mapped[ErasurePolicy | None] = mapped_column(text_enum(ErasurePolicy))
    another_after: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether a run is to be queued as soon as this one has ended, whatever comes of it."""
    created_at: Mapped[datetime] = created_now()
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RunTurn(Base):
    """A turn that taught a run: with the reward it taught with, or by what was demonstrated at it, or both."""

    __tablename__ = "run_turns"
    __table_args__ = (Index("ix_run_turns_turn_id", "turn_id"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("learner_runs.id"), primary_key=True)
    turn_id: Mapped[UUID] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    reward: Mapped[float | None]
    trained_actor: Mapped[bool]
    demonstrated: Mapped[bool] = mapped_column(default=False, server_default=false())


class Lease(Base):
    """The right to do one periodic job, until a time."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[UUID]
    until: Mapped[datetime]

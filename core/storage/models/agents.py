"""Agents, and the metrics that their outcomes are measured in."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, false
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.erasure import ErasurePolicy
from core.domain.metrics import Combine, Direction, Level, MetricKind
from core.storage.models.base import Base, Json, WithId, created_now, text_enum


class Agent(WithId):
    """A deployed chat agent: its base model, how it speaks, when it learns."""

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(unique=True)
    base_model: Mapped[str]
    system_prompt: Mapped[str | None]
    sampling: Mapped[Json]
    discount: Mapped[float]
    max_turns: Mapped[int]
    idle_seconds: Mapped[float]
    schedule: Mapped[Json]
    learner: Mapped[Json]
    erasure: Mapped[ErasurePolicy] = mapped_column(text_enum(ErasurePolicy), server_default=ErasurePolicy.KEEP)
    retention_days: Mapped[float | None]
    """How long a conversation is kept after its last turn; None keeps it for ever."""
    reward_version: Mapped[int] = mapped_column(default=1, server_default="1")
    """Rises whenever the metrics change what conversations earned."""
    browser_metric: Mapped[str | None]
    """What whoever holds a reply's feedback token may say of it; None lets nobody."""
    gates: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """What a version must show before everybody meets it (core.domain.gates)."""
    limits: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """What each of its end users may use up (core.domain.limits)."""
    suite: Mapped[list[Any]] = mapped_column(JSONB, default=list, server_default="[]")
    """Prompts with checks that no version may fail (core.domain.suites)."""
    created_at: Mapped[datetime] = created_now()
    updated_at: Mapped[datetime] = created_now()


class Metric(Base):
    """A metric of one agent. A changed metric is a new version; the newest that is not dropped counts."""

    __tablename__ = "metrics"
    __table_args__ = (UniqueConstraint("agent_id", "name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    name: Mapped[str]
    version: Mapped[int]
    kind: Mapped[MetricKind] = mapped_column(text_enum(MetricKind))
    weight: Mapped[float]
    combine: Mapped[Combine] = mapped_column(text_enum(Combine))
    required: Mapped[bool]
    low: Mapped[float | None]
    high: Mapped[float | None]
    level: Mapped[Level | None] = mapped_column(text_enum(Level))
    direction: Mapped[Direction] = mapped_column(text_enum(Direction), server_default=Direction.HIGHER)
    window_seconds: Mapped[float] = mapped_column(server_default="604800")
    missing: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    guard: Mapped[bool] = mapped_column(server_default=false())
    dropped: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = created_now()


class OutcomeChance(Base):
    """Of the conversations of one kind that have matured or expired lately, how many matured."""

    __tablename__ = "outcome_chances"

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """How it ended, and how many turns it had at least."""
    matured: Mapped[int]
    decided: Mapped[int]
    chance: Mapped[float]
    estimated_at: Mapped[datetime] = created_now()

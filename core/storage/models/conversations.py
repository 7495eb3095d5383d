"""Conversations, and the episodes they are served in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.conversations import ConversationState, Grouping
from core.domain.episodes import Arm, EpisodeEnd
from core.storage.models.base import Json, WithId, created_now, text_enum

LOT = text("substring(uuid_send(id), 13)")
"""The last four bytes of a conversation's id, which are random and say nothing of when it was opened: in their order
any stretch is a fair draw."""


class Conversation(WithId):
    """One end user's session with one agent."""

    __tablename__ = "conversations"
    __table_args__ = (
        UniqueConstraint("external_id", "agent_id"),
        Index("ix_conversations_head_hash", "head_hash"),
        Index("ix_conversations_open", "last_turn_at", postgresql_where="state = 'open'"),
        Index("ix_conversations_due_at", "due_at", postgresql_where="due_at IS NOT NULL"),
        Index("ix_conversations_settled", "agent_id", "reward_version", postgresql_where="state <> 'open'"),
        Index("ix_conversations_matured", "agent_id", "matured_at", postgresql_where="state = 'matured'"),
        Index(
            "ix_conversations_changed",
            "agent_id",
            "changed_at",
            postgresql_where="changed_at IS NOT NULL AND state = 'matured'",
        ),
        Index("ix_conversations_lot", "agent_id", LOT, postgresql_where="state = 'matured'"),
        Index("ix_conversations_closed", "agent_id", "closed_at", postgresql_where="state <> 'open'"),
        Index("ix_conversations_agent_id_last_turn_at", "agent_id", "last_turn_at"),
        Index("ix_conversations_end_user", "end_user", postgresql_where="end_user IS NOT NULL"),
        Index("ix_conversations_parent_id", "parent_id", postgresql_where="parent_id IS NOT NULL"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    external_id: Mapped[str | None]
    end_user: Mapped[str | None]
    key_id: Mapped[UUID]
    tags: Mapped[Json]
    state: Mapped[ConversationState] = mapped_column(text_enum(ConversationState), default=ConversationState.OPEN)
    grouped: Mapped[Grouping] = mapped_column(text_enum(Grouping))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("conversations.id"))
    head_hash: Mapped[bytes | None]
    opened_at: Mapped[datetime] = created_now()
    last_turn_at: Mapped[datetime] = created_now()
    closed_at: Mapped[datetime | None]
    matured_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    """When time alone may next change its state or its reward."""
    reward_version: Mapped[int] = mapped_column(default=0, server_default="0")
    """The agent's when it was last settled; 0 before."""
    outcome_chance: Mapped[float | None]
    """How many of its kind came to have an outcome, as estimated when it ended."""
    taught_at: Mapped[datetime | None]
    """When a run last learned from its outcome."""
    changed_at: Mapped[datetime | None]
    """When its outcome changed after it had taught; None again once a run has learned from the new one."""


class Episode(WithId):
    """A stretch of a conversation under one behaviour policy; adapter, arm and propensity never change.

    `turn_count` is the compare-and-set that serialises the turns: turn k commits only where it still is k.
    """

    __tablename__ = "episodes"
    __table_args__ = (
        UniqueConstraint("conversation_id", "ordinal"),
        Index("ix_episodes_adapter_id_ended_at", "adapter_id", "ended_at"),
        Index("ix_episodes_canary", "canary_id", "started_at", postgresql_where="canary_id IS NOT NULL"),
    )

    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    ordinal: Mapped[int]
    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapter_versions.id"))
    arm: Mapped[Arm] = mapped_column(text_enum(Arm))
    propensity: Mapped[float]
    """How likely its arm was when it began."""
    canary_id: Mapped[UUID | None] = mapped_column(ForeignKey("canaries.id"))
    """The trial that ran when it began, whichever arm it fell to; pinned ones count in none."""
    turn_count: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime] = created_now()
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[EpisodeEnd | None] = mapped_column(text_enum(EpisodeEnd))

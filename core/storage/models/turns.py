"""Turns as people read them, and their tokens as the learner reads them, kept apart so that lists stay light."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.sampling import Learnable
from core.storage.models.base import Base, Json, WithId, created_now, text_enum


class Turn(WithId):
    """What was new in one request, and the reply to it."""

    __tablename__ = "turns"
    __table_args__ = (
        Index("ix_turns_conversation_id_index", "conversation_id", "index"),
        Index("ix_turns_previous_head", "previous_head"),
        Index("ix_turns_head_hash", "head_hash"),
        Index("ix_turns_episode_id", "episode_id"),
    )

    agent_id: Mapped[UUID]
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    episode_id: Mapped[UUID] = mapped_column(ForeignKey("episodes.id"))
    index: Mapped[int]
    messages: Mapped[list[Any]] = mapped_column(JSONB)
    reply: Mapped[Json]
    finish_reason: Mapped[str]
    usage: Mapped[Json]
    sampling: Mapped[Json]
    learnable: Mapped[Learnable] = mapped_column(text_enum(Learnable))
    learnable_reason: Mapped[str | None]
    previous_head: Mapped[bytes]
    request_hash: Mapped[bytes]
    head_hash: Mapped[bytes]
    engine_seconds: Mapped[float]
    first_token_seconds: Mapped[float | None]
    created_at: Mapped[datetime] = created_now()


class TurnTokens(Base):
    """Token ids as little-endian int32, log-probs as little-endian float32; a CRC-32 over all of it.

    The prompt is the first `prefix_length` tokens of the earlier turn's prompt and completion, then `prompt_tail`.
    """

    __tablename__ = "turn_tokens"
    __table_args__ = (
        Index("ix_turn_tokens_prefix_turn_id", "prefix_turn_id", postgresql_where="prefix_turn_id IS NOT NULL"),
    )

    turn_id: Mapped[UUID] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    prefix_turn_id: Mapped[UUID | None]
    prefix_length: Mapped[int]
    prompt_tail: Mapped[bytes]
    completion: Mapped[bytes]
    logprobs: Mapped[bytes]
    checksum: Mapped[int]

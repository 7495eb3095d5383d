"""The reward ledger: append-only entries, the keys that make posting safe to repeat, and what could not be joined."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.models.base import Base, Json, WithId, created_now


class RewardEntry(WithId):
    """One signal about a turn or a conversation; never edited, a correction is a new entry."""

    __tablename__ = "reward_entries"
    __table_args__ = (Index("ix_reward_entries_conversation_id", "conversation_id"),)

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(), index=True)
    agent_id: Mapped[UUID]
    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversations.id"))
    turn_id: Mapped[UUID | None]
    metric: Mapped[str]
    value: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    source: Mapped[str]
    supersedes: Mapped[UUID | None]
    retracts: Mapped[UUID | None]
    comment: Mapped[str | None]
    occurred_at: Mapped[datetime | None]
    received_at: Mapped[datetime] = created_now()


class Demonstration(Base):
    """An entry that says which reply a turn should have been given; its tokens once a learner has made them."""

    __tablename__ = "demonstrations"
    __table_args__ = (Index("ix_demonstrations_agent_id_entry_id", "agent_id", "entry_id"),)

    entry_id: Mapped[UUID] = mapped_column(ForeignKey("reward_entries.id"), primary_key=True)
    agent_id: Mapped[UUID] = mapped_column(ForeignKey("agents.id"))
    base_model: Mapped[str | None]
    """The model whose tokenizer made the tokens."""
    completion: Mapped[bytes | None]
    """Little-endian int32, the end of the reply included."""


class IdempotencyKey(Base):
    """A client's key for one entry: the body it came with and the answer it got."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_conversation", text("(answer ->> 'conversation_id')")),)

    agent_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[bytes]
    answer: Mapped[Json]
    created_at: Mapped[datetime] = created_now()


class DeadLetter(WithId):
    """Feedback whose target is unknown, kept with the reason so that nothing is dropped in silence."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("ix_dead_letters_conversation", text("(body ->> 'conversation_id')")),
        Index("ix_dead_letters_turn", text("(body ->> 'turn_id')")),
    )

    key_id: Mapped[UUID]
    agents: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    body: Mapped[Json]
    reason: Mapped[str]
    received_at: Mapped[datetime] = created_now()

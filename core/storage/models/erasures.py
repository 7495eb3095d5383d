"""What was erased, as counts, and the tombstones that tell an erased id from one that never was."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.domain.erasure import ErasureSubject
from core.storage.models.base import Base, WithId, created_now, text_enum


class Erasure(WithId):
    """One erasure. Nothing in it names a person, a conversation or a turn, so it may be kept for ever."""

    __tablename__ = "erasures"

    subject: Mapped[ErasureSubject] = mapped_column(text_enum(ErasureSubject))
    by: Mapped[str]
    agents: Mapped[list[str]] = mapped_column(ARRAY(Text))
    parts: Mapped[list[Any]] = mapped_column(JSONB)
    """The report, an object for each agent: who may see one agent is shown that agent's."""
    erased_at: Mapped[datetime] = created_now()


class Tombstone(Base):
    """The keyed hash of an erased id or name: it tells nothing to who holds only the database."""

    __tablename__ = "tombstones"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    agent_id: Mapped[UUID]
    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasures.id"))

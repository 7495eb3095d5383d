"""API keys: a hash of the secret, never the secret."""

from datetime import datetime

from sqlalchemy import ARRAY, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.storage.models.base import Json, WithId, created_now


class ApiKey(WithId):
    __tablename__ = "api_keys"

    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    old_secret_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """Of the secret before the last rotation, which is good until `old_valid_until`."""
    old_valid_until: Mapped[datetime | None]
    name: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    agents: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    limits: Mapped[Json] = mapped_column(default=dict, server_default="{}")
    """What it may use up (core.domain.limits)."""
    created_at: Mapped[datetime] = created_now()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

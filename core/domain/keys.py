"""API keys: what they may do, and how a secret becomes the hash that is kept."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from core.domain.ids import Prefix, public
from core.domain.limits import UNLIMITED, Limits


class Scope(StrEnum):
    CHAT = "chat"
    FEEDBACK = "feedback"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and found. `agents` None means every agent."""

    id: UUID
    scopes: frozenset[Scope]
    agents: frozenset[str] | None
    expires_at: datetime | None
    """When the secret that was presented ends: the key's own end, or that of the grace after a rotation."""
    limits: Limits = UNLIMITED

    @property
    def public_id(self) -> str:
        return public(Prefix.KEY, self.id)

    def sees(self, agent: str) -> bool:
        return self.agents is None or agent in self.agents

    def has(self, scopes: Collection[Scope]) -> bool:
        return not self.scopes.isdisjoint(scopes)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def new_secret() -> str:
    """A bearer secret of 256 random bits."""
    return f"nk_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """SHA-256: the secret is 256 random bits, so a slow password hash would add cost to each request and no safety.

    What is looked up is this hash. How long a look-up takes may tell how many leading bytes of two hashes agree; nobody
    can choose those without having the secret, so it tells nothing of the secret.
    """
    return hashlib.sha256(secret.encode()).digest()

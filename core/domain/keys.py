"""API keys: what they may do, and how a secret becomes the hash that is kept."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    CHAT = "chat"
    FEEDBACK = "feedback"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was presented and found valid. `agents` None means every agent."""

    id: UUID
    scopes: frozenset[Scope]
    agents: frozenset[str] | None
    expires_at: datetime | None

    def sees(self, agent: str) -> bool:
        return self.agents is None or agent in self.agents

    def has(self, scopes: Collection[Scope]) -> bool:
        return not self.scopes.isdisjoint(scopes)


def new_secret() -> str:
    """A bearer secret of 256 random bits."""
    return f"nk_{secrets.token_urlsafe(32)}"


def hash_secret(secret: str) -> bytes:
    """SHA-256: the secret is 256 random bits, so a slow password hash would add cost to each request and no safety."""
    return hashlib.sha256(secret.encode()).digest()

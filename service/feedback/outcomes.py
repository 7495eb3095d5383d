"""What a client says of how something ended, and what it is answered."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

STORED_NAMES = {"conversation_id": "conversation", "turn_id": "turn", "idempotency_key": "key"}
"""What the body hashes in the database call these fields: under other names every used key would seem to have had
another body."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One signal, as it came."""

    conversation_id: str | None
    turn_id: str | None
    agent: str | None
    metric: str
    value: Any
    final: bool
    idempotency_key: str | None
    occurred_at: datetime | None
    source: str
    comment: str | None
    supersedes: str | None

    @property
    def body_hash(self) -> bytes:
        """The same for the same outcome, however its JSON was spelt."""
        fields = {STORED_NAMES.get(name, name): getattr(self, name) for name in self.__slots__}
        fields["occurred_at"] = self.occurred_at and self.occurred_at.astimezone(UTC).isoformat()
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """The stored entry as the client is told, and whether this request stored it."""

    fields: dict[str, Any]
    created: bool

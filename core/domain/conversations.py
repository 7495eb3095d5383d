"""Transcripts: their canonical form, and the head hash that recognises a conversation in a resent history."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

Message = dict[str, Any]
"""One message in OpenAI's shape: `role`, `content`, and for tools `tool_calls` or `tool_call_id`."""


class ConversationState(StrEnum):
    OPEN = "open"
    AWAITING = "awaiting"
    MATURED = "matured"
    EXPIRED = "expired"


class Grouping(StrEnum):
    """How a request found its conversation."""

    CLIENT = "client"
    HISTORY = "history"
    NEW = "new"
    BRANCH = "branch"
    AMBIGUOUS = "ambiguous"


def storable(value: Any) -> Any:
    """The value without NUL characters, which Postgres cannot hold; each becomes U+FFFD. Token ids keep the truth."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


def canonical(message: Message) -> Message:
    """The parts of a message that make it the same message, whatever its client writes for 'nothing'.

    A text is one text part; null, absent and empty are the same.
    """
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [part for part in parts or [] if part != {"type": "text", "text": ""}]
    calls = [
        {
            "id": call.get("id"),
            "name": call.get("function", {}).get("name"),
            "arguments": call.get("function", {}).get("arguments"),
        }
        for call in message.get("tool_calls") or []
    ]
    fields = {
        "role": message["role"],
        "content": parts,
        "tool_calls": calls,
        "tool_call_id": message.get("tool_call_id"),
    }
    return {name: value for name, value in fields.items() if value}


def first_head(agent: UUID, end_user: str | None, key: UUID) -> bytes:
    """The head before any message: one chain for each agent and end user (the key where no user is named)."""
    owner = f"key:{key.hex}" if end_user is None else f"user:{end_user}"
    return hashlib.sha256(f"{agent.hex}\n{owner}".encode("utf-8", "surrogatepass")).digest()


def extend_head(head: bytes, messages: Iterable[Message]) -> bytes:
    """hᵢ = SHA-256(hᵢ₋₁ ‖ canonical(mᵢ)) over the messages."""
    for message in messages:
        text = json.dumps(canonical(message), sort_keys=True, separators=(",", ":"))
        head = hashlib.sha256(head + text.encode()).digest()
    return head


def split_history(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """(what was said before, what is new): the history ends with the last assistant message."""
    last = max((i for i, message in enumerate(messages) if message.get("role") == "assistant"), default=-1)
    return messages[: last + 1], messages[last + 1 :]

"""Transcripts: their canonical form, and the head hash that recognises a conversation in a resent history."""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

Message = dict[str, Any]
"""One message in OpenAI's shape: `role`, `content`, and for tools `tool_calls` or `tool_call_id`."""

EXACT_IN_DOUBLE = 2**53
"""Whole numbers below this are the same number as integer and as double."""


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
    return value if b"\\u0000" not in orjson.dumps(value) else _without_nul(value)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def canonical(message: Message) -> Message:
    """The parts of a message that make it the same message, however its client writes it down when it sends it again.

    A text is one text part, whatever else hangs on it; null, absent and empty are the same; a tool call's arguments are
    what they say as JSON, in any order and spacing.
    """
    same: Message = {"role": message["role"]}
    if parts := _parts(message.get("content")):
        same["content"] = parts
    if calls := [_call(call.get("id"), call.get("function") or {}) for call in message.get("tool_calls") or ()]:
        same["tool_calls"] = calls
    if call := message.get("function_call"):
        same["function_call"] = _call(None, call)
    if call_id := message.get("tool_call_id"):
        same["tool_call_id"] = call_id
    return same


def _parts(content: str | list[Message] | None) -> list[Message]:
    if not content:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in content if part.get("type") != "text" or part.get("text")]


def _part(part: Message) -> Message:
    if part.get("type") == "text":
        return {"type": "text", "text": part["text"]}
    return {name: _without_nulls(value) for name, value in part.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return value


def _call(call_id: str | None, function: Message) -> Message:
    return {"id": call_id, "name": function.get("name"), "arguments": _arguments(function.get("arguments") or "{}")}


def _arguments(text: str) -> str:
    """Equal for equal JSON: clients parse what they are sent and write it anew. What is no JSON stands for itself.

    JavaScript writes 1.0 as 1. Numbers of more than 64 bits are equal as doubles.
    """
    try:
        value = orjson.loads(text)
        orjson.dumps(value)  # here, so that what is nested too deep for orjson is not for Python's stack to find out
        return orjson.dumps(_as_javascript(value), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return text


def _as_javascript(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_IN_DOUBLE:
        return int(value)
    if isinstance(value, list):
        return [_as_javascript(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_javascript(item) for name, item in value.items()}
    return value


def first_head(agent: UUID, end_user: str | None, key: UUID) -> bytes:
    """The head before any message: one chain for each agent and end user (the key where no user is named)."""
    owner = f"key:{key.hex}" if end_user is None else f"user:{end_user}"
    return hashlib.sha256(f"{agent.hex}\n{owner}".encode("utf-8", "surrogatepass")).digest()


def extend_head(head: bytes, messages: Iterable[Message]) -> bytes:
    """hᵢ = SHA-256(hᵢ₋₁ ‖ canonical(mᵢ)) over the messages."""
    for message in messages:
        head = hashlib.sha256(head + orjson.dumps(canonical(message), option=orjson.OPT_SORT_KEYS)).digest()
    return head


def split_history(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    """(what was said before, what is new): the history ends with the last assistant message."""
    ends = (place for place in range(len(messages), 0, -1) if messages[place - 1].get("role") == "assistant")
    end = next(ends, 0)
    return messages[:end], messages[end:]

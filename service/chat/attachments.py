"""Images, sounds and files in messages, for which alone a chat request may be larger than other bodies."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.bodies import too_large


def check_text(messages: Iterable[Mapping[str, Any]], size: int, limit: int) -> None:
    """Raises RequestTooLargeError where a body of this size is over the limit by something else than attachments."""
    if size > limit and size - sum(map(_attached, messages)) > limit:
        raise too_large(limit)


def _attached(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return sum(_length(part) for part in parts if part["type"] != "text")


def _length(value: Any) -> int:
    """Of all the texts in it, in characters, which are bytes where an attachment is base64."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    return 0

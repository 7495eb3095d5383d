"""Images, sounds and files in messages, for which alone a chat request may be larger than other bodies."""

import json
from collections.abc import Iterator
from typing import Any

from service.bodies import read_json, too_large


def check_text(raw: bytes, limit: int) -> None:
    """Raises RequestTooLargeError for a body that is over the limit by something else than attachments.

    Before anything else is made of it: what is too large and no JSON either is too large.
    """
    if len(raw) <= limit:
        return
    try:
        attached = sum(map(_length, _attachments(read_json(raw))))
    except json.JSONDecodeError as error:
        raise too_large(limit) from error
    if len(raw) - attached > limit:
        raise too_large(limit)


def _attachments(body: Any) -> Iterator[Any]:
    """The parts that are no text. Nobody has looked at the body: it may be anything."""
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") != "text":
                yield part


def _length(value: Any) -> int:
    """Of all the texts in it, in characters, which are bytes where an attachment is base64."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    return 0

"""A turn as OpenAI's clients read it: under our id and the name they asked for, without what only Nock needs."""

from typing import Any

import orjson

from core.domain import ids
from core.storage.models import Turn

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"


def event(chunk: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def completion(raw: Json, *, turn_id: str, model: str, logprobs: bool) -> Json:
    """An engine's whole answer, or one of its chunks, as the client's."""
    shown = {name: value for name, value in raw.items() if name != "prompt_token_ids"}
    shown["choices"] = [_choice(choice, logprobs) for choice in raw.get("choices", [])]
    return shown | {"id": turn_id, "model": model}


def _choice(choice: Json, logprobs: bool) -> Json:
    shown = {name: value for name, value in choice.items() if name != "token_ids"}
    if not logprobs:
        shown["logprobs"] = None
    return shown


def stored_completion(turn: Turn, model: str) -> Json:
    """A turn that was answered before, as the whole answer that it was."""
    return {
        "id": ids.public(ids.Prefix.TURN, turn.id),
        "object": "chat.completion",
        "created": int(turn.created_at.timestamp()),
        "model": model,
        "choices": [{"index": 0, "message": turn.reply, "finish_reason": turn.finish_reason, "logprobs": None}],
        "usage": turn.usage,
    }


def stored_chunks(turn: Turn, model: str, *, usage: bool) -> list[bytes]:
    """The same as a stream."""
    whole = stored_completion(turn, model) | {"object": "chat.completion.chunk"}
    counted, choice = whole.pop("usage"), whole.pop("choices")[0]
    message = dict(choice["message"])
    if "tool_calls" in message:
        message["tool_calls"] = [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]
    chunks = [
        whole | {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        whole | {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
    ]
    if usage:
        chunks.append(whole | {"choices": [], "usage": counted})
    return [*map(event, chunks), DONE]

"""A turn as OpenAI's clients read it: under our id and the name they asked for, without what only Nock needs."""

from dataclasses import dataclass
from typing import Any

import orjson

from core.domain import ids
from core.storage.models import Turn

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"


def event(chunk: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


NOT_FOR_CLIENTS = ("kv_transfer_params", "ec_transfer_params")
"""What engines say to each other."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the record this client asked to see in its answer."""

    logprobs: bool
    token_ids: bool


def completion(raw: Json, *, turn_id: str, model: str, shown: Shown) -> Json:
    """An engine's whole answer, or one of its chunks, as the client's."""
    hidden = NOT_FOR_CLIENTS if shown.token_ids else (*NOT_FOR_CLIENTS, "prompt_token_ids")
    answer = {name: value for name, value in raw.items() if name not in hidden}
    if answer.get("usage", True) is None:
        del answer["usage"]
    answer["choices"] = [_choice(choice, shown) for choice in raw.get("choices") or []]
    return answer | {"id": turn_id, "model": model}


def _choice(choice: Json, shown: Shown) -> Json:
    answer = dict(choice)
    if not shown.token_ids:
        answer.pop("token_ids", None)
    if not shown.logprobs:
        answer["logprobs"] = None
    return answer


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

"""What an engine generated, put together from a whole answer or from the chunks of a stream."""

import math
from array import array
from dataclasses import dataclass, field
from typing import Any

from core.domain.errors import EngineError

Json = dict[str, Any]

TRUNCATED = "truncated"
"""The finish reason of a reply that the client or the engine broke off."""

CALLS = range(1024)
"""Places of a reply's tool calls; an engine that names a higher one is broken: those before it would fill memory."""

LARGEST = 2**31 - 1
"""Of token ids and of counts of tokens: int32 holds no more, and no vocabulary and no reply is larger."""

BROKEN = (KeyError, TypeError, AttributeError, ValueError, OverflowError)
"""What comes of reading as a completion what is none."""


@dataclass(slots=True)
class Generation:
    """A reply so far: its text and tool calls, its tokens as sampled, and why it ended."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[Json] = field(default_factory=list)
    prompt_ids: list[int] = field(default_factory=list)
    completion_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Json | None = None

    def add_answer(self, answer: Json) -> None:
        """Take a whole answer (`chat.completion`). Raises EngineError for what is none."""
        try:
            (choice,) = answer["choices"]
            finish = _text(choice["finish_reason"])
            self._add(choice, choice["message"], _ids(answer.get("prompt_token_ids")), _counts(answer.get("usage")))
            self.finish_reason = finish
        except BROKEN as error:
            raise EngineError("The engine answered something that is no chat completion.") from error

    def add_chunk(self, chunk: Json) -> None:
        """Take one chunk of a stream (`chat.completion.chunk`). Raises EngineError for what is none."""
        try:
            prompt_ids = self.prompt_ids or _ids(chunk.get("prompt_token_ids"))
            usage = _counts(chunk.get("usage")) or self.usage
            (choice,) = chunk.get("choices") or [{}]
            finish = _text(choice.get("finish_reason") or "")
            self._add(choice, choice.get("delta") or {}, prompt_ids, usage)
            self.finish_reason = finish or self.finish_reason
        except BROKEN as error:
            raise EngineError("The engine sent an event that is no part of a chat completion.") from error

    def message(self) -> Json:
        """The reply as an assistant's message."""
        message: Json = {"role": "assistant", "content": self.content or None if self.tool_calls else self.content}
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        if self.reasoning:
            message["reasoning"] = self.reasoning
        return message

    def token_usage(self) -> Json:
        """The engine's own count, or ours where a stream ended before it came."""
        if self.usage is not None:
            return self.usage
        prompt, completion = len(self.prompt_ids), len(self.completion_ids)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _add(self, choice: Json, said: Json, prompt_ids: list[int], usage: Json | None) -> None:
        """All of it or nothing: what is broken is no part of a turn, and another engine may be asked in its place."""
        ids, logprobs = _ids(choice.get("token_ids")), _logprobs(choice)
        content = self.content + (said.get("content") or "")
        reasoning = self.reasoning + (said.get("reasoning") or said.get("reasoning_content") or "")
        if calls := said.get("tool_calls"):
            for call in [_call(call, place) for place, call in enumerate(calls)]:
                self._add_call(*call)
        self.content, self.reasoning = content, reasoning
        self.prompt_ids, self.usage = prompt_ids, usage
        self.completion_ids += ids
        self.logprobs += logprobs

    def _add_call(self, index: int, call_id: str, name: str, arguments: str) -> None:
        """Tool calls come in pieces: the id and name first, the arguments letter by letter."""
        while len(self.tool_calls) <= index:
            self.tool_calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call = self.tool_calls[index]
        call["id"] = call_id or call["id"]
        call["function"]["name"] += name
        call["function"]["arguments"] += arguments


def _ids(given: Any) -> list[int]:
    """Token ids that can be kept."""
    ids: list[int] = given or []
    array("I", ids)  # whole numbers, none of them negative
    if ids and max(ids) > LARGEST:
        raise ValueError("a token id is larger than any vocabulary")
    return ids


def _logprobs(choice: Json) -> list[float]:
    """Log-probs that can be kept: finite as float32."""
    heard = (choice.get("logprobs") or {}).get("content") or []
    logprobs = [float(token["logprob"]) for token in heard]
    if not math.isfinite(sum(array("f", logprobs))):
        raise ValueError("a log-prob is not finite")
    return logprobs


def _call(given: Json, place: int) -> tuple[int, str, str, str]:
    """Index, id, name and arguments of a tool call or of a piece of one."""
    index, function = given.get("index", place), given.get("function") or {}
    if index not in CALLS:
        raise ValueError(f"tool call {index}")
    return (
        int(index),
        _text(given.get("id") or ""),
        _text(function.get("name") or ""),
        _text(function.get("arguments") or ""),
    )


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"a text was expected, not {type(given).__name__}")
    return given


def _counts(usage: Json | None) -> Json | None:
    if not usage:
        return None
    counts = {name: int(usage[name]) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if not 0 <= min(counts.values()) <= max(counts.values()) <= LARGEST:
        raise ValueError("a count of tokens is none")
    return counts

"""What an engine generated, put together from a whole answer or from the chunks of a stream."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.domain.errors import EngineError

Json = dict[str, Any]

TRUNCATED = "truncated"
"""The finish reason of a reply that the client or the engine broke off."""

MOST_CALLS = 1024
"""Tool calls of one reply; an engine that names a higher one is broken, and the places before it would fill memory."""


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
            choice = answer["choices"][0]
            ids, logprobs = _tokens(choice)
            self._add_message(choice["message"])
            self.completion_ids += ids
            self.logprobs += logprobs
            self.finish_reason = _text(choice["finish_reason"])
            self.prompt_ids = answer.get("prompt_token_ids") or []
            self.usage = _counts(answer.get("usage"))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise EngineError("The engine answered something that is no chat completion.") from error

    def add_chunk(self, chunk: Json) -> None:
        """Take one chunk of a stream (`chat.completion.chunk`). Raises EngineError for what is none."""
        try:
            self.prompt_ids = self.prompt_ids or chunk.get("prompt_token_ids") or []
            self.usage = _counts(chunk.get("usage")) or self.usage
            for choice in chunk.get("choices") or []:
                ids, logprobs = _tokens(choice)  # before anything is taken: what breaks a stream is no part of its turn
                finish = _text(choice.get("finish_reason") or "")
                self._add_delta(choice.get("delta") or {})
                self.completion_ids += ids
                self.logprobs += logprobs
                self.finish_reason = finish or self.finish_reason
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
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

    def _add_message(self, message: Json) -> None:
        self.content = _text(message.get("content") or "")
        self.reasoning = _text(message.get("reasoning") or message.get("reasoning_content") or "")
        self.tool_calls = message.get("tool_calls") or []

    def _add_delta(self, delta: Json) -> None:
        self.content += delta.get("content") or ""
        self.reasoning += delta.get("reasoning") or delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls") or []:
            self._add_call(call)

    def _add_call(self, delta: Json) -> None:
        """Tool calls come in pieces: the id and name first, the arguments letter by letter."""
        index = delta.get("index", 0)
        if not 0 <= index < MOST_CALLS:
            raise ValueError(f"tool call {index}")
        while len(self.tool_calls) <= index:
            self.tool_calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = self.tool_calls[index], delta.get("function") or {}
        call["id"] = delta.get("id") or call["id"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def _tokens(choice: Mapping[str, Any]) -> tuple[list[int], list[float]]:
    """Ids and log-probs. Raises TypeError, ValueError or OverflowError for ids that cannot be kept."""
    ids: list[int] = choice.get("token_ids") or []
    array("i", ids)
    heard = (choice.get("logprobs") or {}).get("content") or []
    return ids, [float(token["logprob"]) for token in heard]


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"a text was expected, not {type(given).__name__}")
    return given


def _counts(usage: Json | None) -> Json | None:
    if not usage:
        return None
    return {name: int(usage[name]) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}

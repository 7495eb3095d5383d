"""What a reply looks like on the wire: vLLM's chat completion objects and chunks, field by field; knows no engine."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.generation import Delta, TokenLogprob
from engine.rendering import TokenNames
from engine.schemas import ChatCompletionRequest

Json = dict[str, Any]
# vLLM's floor: JSON has no minus infinity.
LEAST_LOGPROB = -9999.0


@dataclass(slots=True)
class CompletionWriter:
    """Writes the answers to one request."""

    request: ChatCompletionRequest
    model_name: str
    prompt_ids: list[int]
    names: TokenNames
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    completion_tokens: int = 0
    _context: list[int] = field(default_factory=list)

    @property
    def role(self) -> str:
        role: str = "assistant" if self.request.add_generation_prompt else self.request.messages[-1]["role"]
        return role

    def whole(self, delta: Delta) -> Json:
        """The answer that is not streamed."""
        logprobs = self._logprobs(delta)
        self.completion_tokens = len(delta.token_ids)
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model_name,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": self.role,
                        "content": delta.text,
                        "refusal": None,
                        "annotations": None,
                        "audio": None,
                        "function_call": None,
                        "reasoning": None,
                    },
                    "logprobs": logprobs,
                    "finish_reason": delta.finish_reason,
                    "stop_reason": delta.stop_reason,
                    "token_ids": delta.token_ids if self.request.return_token_ids else None,
                }
            ],
            "service_tier": None,
            "system_fingerprint": None,
            "usage": self._usage() | {"prompt_tokens_details": None, "completion_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_ids": self.prompt_ids if self.request.return_token_ids else None,
            "prompt_text": None,
            "kv_transfer_params": None,
        }

    def first_chunk(self) -> Json:
        """The role, and the prompt's ids for who asked."""
        choice = {
            "index": 0,
            "delta": {"role": self.role, "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
        chunk = self._chunk([choice])
        return chunk | {"prompt_token_ids": self.prompt_ids if self.request.return_token_ids else None}

    def chunk(self, delta: Delta) -> Json:
        """One step; the last one carries `finish_reason`."""
        choice: Json = {
            "index": 0,
            "delta": {"content": delta.text},
            "logprobs": self._logprobs(delta),
            "finish_reason": delta.finish_reason,
        }
        if delta.finish_reason is not None:
            choice["stop_reason"] = delta.stop_reason
        choice["token_ids"] = delta.token_ids if self.request.return_token_ids else None
        self.completion_tokens += len(delta.token_ids)
        return self._chunk([choice])

    def usage_chunk(self) -> Json | None:
        """What follows the last step when the client asked for usage."""
        options = self.request.stream_options
        if options is None or not options.include_usage:
            return None
        return self._chunk([]) | {"usage": self._usage()}

    def _chunk(self, choices: list[Json]) -> Json:
        chunk: Json = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model_name,
            "choices": choices,
        }
        options = self.request.stream_options
        if choices and options is not None and options.include_usage and options.continuous_usage_stats:
            chunk["usage"] = self._usage()
        return chunk

    def _usage(self) -> Json:
        prompt = len(self.prompt_ids)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }

    def _logprobs(self, delta: Delta) -> Json | None:
        if not self.request.logprobs:
            return None
        pairs = zip(delta.token_ids, delta.logprobs, strict=True)
        return {"content": [self._token_logprob(token_id, heard) for token_id, heard in pairs]}

    def _token_logprob(self, token_id: int, heard: TokenLogprob) -> Json:
        context = self._context[-3:]
        self._context.append(token_id)
        entry = self._named(token_id, heard.logprob, context)
        entry["top_logprobs"] = [self._named(other, logprob, context) for other, logprob in heard.top]
        return entry

    def _named(self, token_id: int, logprob: float, context: Sequence[int]) -> Json:
        text = self.names.name(token_id, context)
        token = f"token_id:{token_id}" if self.request.return_tokens_as_token_ids else text
        return {"token": token, "logprob": max(logprob, LEAST_LOGPROB), "bytes": [*text.encode()]}

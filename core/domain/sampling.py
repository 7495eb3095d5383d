"""Which generated turns may teach the actor, by how they were sampled; and what no request may ask of an engine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Learnable(StrEnum):
    ACTOR = "actor"
    CRITIC = "critic"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Learnability:
    """What a turn may teach, and why no more than that."""

    who: Learnable
    reason: str | None = None


NEUTRAL: dict[str, Any] = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "logit_bias": {},
    "response_format": {"type": "text"},
    "structured_outputs": {},
    "bad_words": [],
    "allowed_token_ids": [],
    "min_tokens": 0,
    "ignore_eos": False,
    "thinking_token_budget": None,
    "watermarking": False,
}
"""Sampling fields that change the distribution, with the value at which each changes nothing."""

REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "one reply is given and kept a turn"),
    "best_of": ((1,), "the best of several replies was not sampled by the version that is named as its author"),
    "use_beam_search": ((False,), "what a beam search finds was not sampled"),
    "echo": ((False,), "a reply holds nothing but what was sampled"),
    "add_generation_prompt": ((True,), "a reply is an assistant's message from its beginning"),
    "continue_final_message": ((False,), "a reply is an assistant's message from its beginning"),
    "request_id": ((), "a reply's id is its turn's"),
    "priority": ((0,), "who is served first is not for requests to say"),
    "kv_transfer_params": ((), "what engines hand to each other is not for requests to say"),
    "ec_transfer_params": ((), "what engines hand to each other is not for requests to say"),
}
"""Fields of engines that would break the record or reach into other people's requests: (values that ask for nothing,
why another one is refused)."""

_LEAVING_AS_IT_IS = """
    model messages stream stream_options logprobs top_logprobs return_token_ids temperature seed
    max_tokens max_completion_tokens stop stop_token_ids include_stop_str_in_output repetition_detection
    skip_special_tokens spaces_between_special_tokens return_tokens_as_token_ids prompt_logprobs logprob_token_ids
    tools tool_choice parallel_tool_calls reasoning_effort include_reasoning verbosity modalities
    chat_template chat_template_kwargs documents add_special_tokens truncate_prompt_tokens truncation_side
    mm_processor_kwargs media_io_kwargs return_prompt_text cache_salt session_id stream_interval
    service_tier safety_identifier prompt_cache_key prompt_cache_retention
"""
HARMLESS = frozenset(_LEAVING_AS_IT_IS.split()) | REFUSED.keys()
"""Fields that leave the distribution of each token, given those before it, as it is; some are looked at one by one."""

LEAST_TEMPERATURE = 0.01
"""vLLM samples at this temperature when it is asked for a smaller one that is not zero."""

CUT_OFF = ("truncated", "abort", "error")
"""Finish reasons of replies that ended without the model's or the request's doing."""


def find_refused(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """(the first field that no request may set so, why), if there is one."""
    for name, (harmless, reason) in REFUSED.items():
        value = fields.get(name)
        if value is not None and value not in harmless:
            return name, reason
    return None


def learnability(
    request: Mapping[str, Any], *, prompt: int, tokens: int, logprobs: int, finish_reason: str
) -> Learnability:
    """What the answer to an engine's request may teach, by how many tokens and log-probs are known of it.

    The actor learns from exact log-probs of the full softmax at a positive temperature and from nothing else; the
    critic learns from any complete reply; a truncated reply is an action that nobody chose. A field that is not known
    here is taken for one that bends the distribution.
    """
    if finish_reason in CUT_OFF:
        return Learnability(Learnable.NONE, "the reply was cut off before it was complete")
    reason = _bent(request) or _incomplete(prompt, tokens, logprobs)
    return Learnability(Learnable.ACTOR) if reason is None else Learnability(Learnable.CRITIC, reason)


def _incomplete(prompt: int, tokens: int, logprobs: int) -> str | None:
    if tokens == 0:
        return "the engine returned no token ids"
    if prompt == 0:
        return "the engine returned no token ids of the prompt"
    if logprobs != tokens:
        return f"{logprobs} log-probs for {tokens} tokens"
    return None


def _bent(request: Mapping[str, Any]) -> str | None:
    """Why the log-probs are not those of the model's own softmax over the prompt's tokens, if they are not."""
    temperature = request.get("temperature", 1.0) or 0.0
    if temperature <= 0.0:
        return "temperature is 0: the reply was not sampled"
    if temperature < LEAST_TEMPERATURE:
        return f"engines raise a temperature below {LEAST_TEMPERATURE}"
    if request.get("tool_choice") not in (None, "none", "auto"):
        return "tool_choice constrains the tokens"
    if any((tool.get("function") or {}).get("strict") for tool in request.get("tools") or ()):
        return "a strict tool constrains the tokens"
    if not _is_text(request.get("messages") or ()):
        return "the prompt holds parts that are no text, which the learner cannot read"
    for name, value in request.items():
        if name in NEUTRAL and value not in (None, NEUTRAL[name]) and not (name == "top_k" and value == -1):
            return f"{name} changes the distribution that was sampled from"
        if name not in NEUTRAL and name not in HARMLESS and value is not None:
            return f"{name} is not known to leave the distribution as it is"
    return None


def _is_text(messages: Iterable[Mapping[str, Any]]) -> bool:
    contents = (message.get("content") for message in messages)
    return all(part.get("type") == "text" for parts in contents if isinstance(parts, list) for part in parts)

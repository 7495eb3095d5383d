"""Which generated turns may teach the actor: a rule on how they were sampled."""

from collections.abc import Mapping
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
    "logit_bias": {},
    "response_format": {"type": "text"},
    "structured_outputs": {},
    "bad_words": [],
    "allowed_token_ids": [],
    "min_tokens": 0,
    "ignore_eos": False,
    "thinking_token_budget": None,
}
"""Sampling fields that change the distribution, with the value at which each changes nothing."""


def learnability(sampling: Mapping[str, Any], *, tokens: int, logprobs: int, finish_reason: str) -> Learnability:
    """What one generation may teach.

    The actor learns from exact log-probs of the full softmax at a positive temperature and from nothing else; the
    critic learns from any complete reply; a truncated reply is an action that nobody chose.
    """
    if finish_reason == "truncated":
        return Learnability(Learnable.NONE, "the reply was cut off before it was complete")
    if tokens == 0:
        return Learnability(Learnable.CRITIC, "the engine returned no token ids")
    if logprobs != tokens:
        return Learnability(Learnable.CRITIC, f"{logprobs} log-probs for {tokens} tokens")
    if (sampling.get("temperature", 1.0) or 0.0) <= 0.0:
        return Learnability(Learnable.CRITIC, "temperature is 0: the reply was not sampled")
    if sampling.get("tool_choice") not in (None, "none", "auto"):
        return Learnability(Learnable.CRITIC, "tool_choice constrains the tokens")
    for name, neutral in NEUTRAL.items():
        value = sampling.get(name)
        if value not in (None, neutral) and not (name == "top_k" and value == -1):
            return Learnability(Learnable.CRITIC, f"{name} changes the distribution that was sampled from")
    return Learnability(Learnable.ACTOR)

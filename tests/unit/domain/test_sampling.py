"""Which turns may teach the actor."""

from typing import Any

import pytest

from core.domain.sampling import NEUTRAL, Learnable, learnability


def who(sampling: dict[str, Any], *, tokens: int = 5, logprobs: int = 5, finish_reason: str = "stop") -> Learnable:
    learned = learnability(sampling, tokens=tokens, logprobs=logprobs, finish_reason=finish_reason)
    assert (learned.reason is None) == (learned.who is Learnable.ACTOR)
    return learned.who


@pytest.mark.parametrize(
    "sampling",
    [
        {},
        {"temperature": 0.7, "max_tokens": 64, "seed": 1, "stop": ["\n"]},
        {"temperature": 1.0, "top_p": 1.0, "top_k": 0},
        {"top_k": -1},  # vLLM's word for none
        {"tool_choice": "auto"},
        {"response_format": {"type": "text"}},
        dict(NEUTRAL),
        dict.fromkeys(NEUTRAL),
    ],
)
def test_the_plain_softmax_at_a_temperature_teaches_the_actor(sampling: dict[str, Any]) -> None:
    assert who(sampling) is Learnable.ACTOR
    assert who(sampling, finish_reason="length") is Learnable.ACTOR


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0},
        {"temperature": 0.0},
        {"temperature": None},
        {"top_p": 0.9},
        {"top_k": 50},
        {"min_p": 0.1},
        {"presence_penalty": 0.5},
        {"frequency_penalty": -0.5},
        {"repetition_penalty": 1.1},
        {"logit_bias": {"50256": -100}},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
        {"bad_words": ["no"]},
        {"allowed_token_ids": [1]},
        {"min_tokens": 3},
        {"ignore_eos": True},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ],
)
def test_whatever_bends_the_distribution_leaves_the_turn_to_the_critic(sampling: dict[str, Any]) -> None:
    assert who(sampling) is Learnable.CRITIC


def test_incomplete_tokens_leave_the_turn_to_the_critic() -> None:
    assert who({}, logprobs=4) is Learnable.CRITIC
    assert who({}, logprobs=0) is Learnable.CRITIC
    assert who({}, tokens=0, logprobs=0) is Learnable.CRITIC


def test_a_reply_that_was_cut_off_teaches_nobody() -> None:
    assert who({}, finish_reason="truncated") is Learnable.NONE

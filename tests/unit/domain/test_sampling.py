"""Which turns may teach the actor."""

from typing import Any

import pytest

from core.domain.sampling import HARMLESS, NEUTRAL, REFUSED, Learnable, find_refused, learnability


def who(
    request: dict[str, Any], *, prompt: int = 9, tokens: int = 5, logprobs: int = 5, finish_reason: str = "stop"
) -> Learnable:
    learned = learnability(request, prompt=prompt, tokens=tokens, logprobs=logprobs, finish_reason=finish_reason)
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
        dict.fromkeys(HARMLESS - {"temperature"}),
        {name: values[0] for name, (values, _) in REFUSED.items() if values},
        {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low", "cache_salt": "x"},
        {"tools": [{"type": "function", "function": {"name": "look", "strict": False}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
        {"temperature": 0.01},
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
        {"temperature": 0.009},  # vLLM would sample at 0.01
        {"tools": [{"type": "function", "function": {"name": "look", "strict": True}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"watermarking": True},
        {"vllm_xargs": {"my_processor": 1}},
        {"guided_json": {"type": "object"}},
        {"what_comes_next_year": 1},
    ],
)
def test_whatever_bends_the_distribution_leaves_the_turn_to_the_critic(sampling: dict[str, Any]) -> None:
    assert who(sampling) is Learnable.CRITIC


def test_incomplete_tokens_leave_the_turn_to_the_critic() -> None:
    assert who({}, logprobs=4) is Learnable.CRITIC
    assert who({}, logprobs=0) is Learnable.CRITIC
    assert who({}, tokens=0, logprobs=0) is Learnable.CRITIC
    assert who({}, prompt=0) is Learnable.CRITIC


@pytest.mark.parametrize("reason", ["truncated", "abort", "error"])
def test_a_reply_that_was_cut_off_teaches_nobody(reason: str) -> None:
    assert who({}, finish_reason=reason) is Learnable.NONE


@pytest.mark.parametrize("fields", [{}, {"n": 1, "echo": False}, {"priority": 0, "request_id": None}, {"top_k": 5}])
def test_what_asks_for_nothing_is_not_refused(fields: dict[str, Any]) -> None:
    assert find_refused(fields) is None


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"echo": True}, {"priority": -1}, {"kv_transfer_params": {}}, {"use_beam_search": True}]
)
def test_what_would_break_the_record_or_reach_into_others_requests_is_refused(fields: dict[str, Any]) -> None:
    found = find_refused(fields)
    assert found is not None
    assert found[0] == next(iter(fields))

"""What cannot be done is refused by name; what does no harm is let through."""

from typing import Any

import pytest

from engine.errors import RequestError
from engine.schemas import HARMLESS, ChatCompletionRequest, plain_messages

HELLO = [{"role": "user", "content": "hello"}]


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(messages=HELLO, **fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tools", []),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"5": 10}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("repetition_penalty", 1.1),
        ("min_p", 0.1),
        ("n", 2),
        ("use_beam_search", True),
        ("structured_outputs", {"choice": ["a"]}),
        ("prompt_logprobs", 0),
        ("echo", True),
        ("bad_words", ["no"]),
        ("priority", 3),
    ],
)
def test_what_is_not_supported_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(RequestError, match=field) as refusal:
        request(**{field: value}).check()
    assert (refusal.value.status, refusal.value.param) == (400, field)


@pytest.mark.parametrize("field", [name for name in HARMLESS if name != "tool_choice"])
def test_the_values_that_ask_for_nothing_are_let_through(field: str) -> None:
    for value in HARMLESS[field]:
        request(**{field: value}).check()


def test_fields_that_nobody_knows_are_ignored() -> None:
    request(user="u1", metadata={"a": "b"}, store=True, service_tier="auto", whatever=1).check()


def test_tools_that_must_not_be_called_are_let_through() -> None:
    request(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="none").check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tool_choice": "auto"}, "`tools` must be set"),
        ({"tools": [], "tool_choice": "none"}, "tools"),
        ({"top_logprobs": 2}, "`logprobs` must be set to true"),
        ({"logprobs": True, "top_logprobs": 21}, "greater than max allowed: 20"),
        ({"logprobs": True, "top_logprobs": -1}, "greater than max allowed: 20"),
        ({"stream_options": {"include_usage": True}}, "only be defined when `stream=True`"),
        ({"stop": ["a", ""]}, "empty string"),
        ({"continue_final_message": True}, "Cannot set both"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        request(**fields).check()


def test_nulls_mean_the_same_as_leaving_out() -> None:
    parsed = request(
        temperature=None, stop=None, top_logprobs=None, min_tokens=None, ignore_eos=None, seed=None, n=None
    )
    parsed.check()
    assert (parsed.top_logprobs, parsed.min_tokens, parsed.ignore_eos, parsed.stop_strings) == (0, 0, False, ())


def test_max_completion_tokens_goes_before_max_tokens() -> None:
    assert request(max_tokens=5, max_completion_tokens=7).wanted_tokens == 7
    assert request(max_tokens=5).wanted_tokens == 5


def test_text_parts_are_joined_by_line_ends() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"type": "text", "text": "c"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]
    assert [message["content"] for message in plain_messages(messages)] == ["a\nb\nc", ""]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "user", "content": 3},
        {"content": "no role"},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
    ],
)
def test_messages_that_this_engine_cannot_read_are_refused_by_place(message: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"messages\.1"):
        plain_messages([*HELLO, message])

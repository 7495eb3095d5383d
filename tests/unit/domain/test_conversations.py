"""Canonical messages, and the chain of hashes that recognises a conversation."""

import hashlib
from typing import Any
from uuid import UUID

import pytest

from core.domain.conversations import Message, canonical, extend_head, first_head, split_history, storable

AGENT, OTHER_AGENT, KEY, OTHER_KEY = (UUID(int=number) for number in range(1, 5))
START = first_head(AGENT, "ann", KEY)
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def user(content: Any) -> Message:
    return {"role": "user", "content": content}


def calling(arguments: str) -> Message:
    return {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "look", "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), user([{"type": "text", "text": "hi"}])),
        (user("hi"), {"content": "hi", "role": "user", "name": None}),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "assistant", "tool_calls": [CALL]}),
        (
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "assistant", "content": [], "tool_calls": [CALL]},
        ),
        ({"role": "assistant", "content": "a", "tool_calls": []}, {"role": "assistant", "content": "a"}),
        ({"role": "assistant", "content": "a", "refusal": None}, {"role": "assistant", "content": "a"}),
        ({"role": "assistant", "content": "a", "function_call": None}, {"role": "assistant", "content": "a"}),
        (calling(""), calling("{}")),
        (calling('{"a":1.0,"b":[-0.0,2e3]}'), calling('{ "b": [0, 2000],\n "a": 1 }')),  # as JavaScript writes it
        (calling('{"\\u00e9":"\\u00e9"}'), calling('{"é":"é"}')),
    ],
)
def test_what_means_the_same_is_the_same_message(one: Message, other: Message) -> None:
    assert canonical(one) == canonical(other)
    assert extend_head(START, [one]) == extend_head(START, [other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), user("hi ")),
        (user("hi"), {"role": "system", "content": "hi"}),
        (user("a\nb"), user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])),
        (user("hi"), user([{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "x"}}])),
        ({"role": "tool", "tool_call_id": "1", "content": "a"}, {"role": "tool", "tool_call_id": "2", "content": "a"}),
        (
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "look", "arguments": "[]"}}]},
        ),
        (calling('{"a":1}'), calling('{"a":"1"}')),
        (calling('{"a":1.5}'), calling('{"a":1.25}')),
        (calling('{"a":9007199254740993}'), calling('{"a":9007199254740992}')),
        (calling("{broken"), calling("{broken ")),
        (
            {"role": "assistant", "function_call": {"name": "look", "arguments": "{}"}},
            {"role": "assistant", "function_call": {"name": "listen", "arguments": "{}"}},
        ),
    ],
)
def test_what_means_something_else_is_another_message(one: Message, other: Message) -> None:
    assert extend_head(START, [one]) != extend_head(START, [other])


def test_a_head_is_chained_message_by_message() -> None:
    first, second = user("a"), {"role": "assistant", "content": "b"}
    assert extend_head(extend_head(START, [first]), [second]) == extend_head(START, [first, second])
    assert extend_head(START, [first, second]) != extend_head(START, [second, first])
    assert extend_head(START, []) == START
    by_hand = hashlib.sha256(START + b'{"content":[{"text":"a","type":"text"}],"role":"user"}').digest()
    assert extend_head(START, [first]) == by_hand


def test_agents_users_and_keys_have_chains_of_their_own() -> None:
    heads = {
        first_head(agent, end_user, key)
        for agent in (AGENT, OTHER_AGENT)
        for end_user in ("ann", "bob", None)
        for key in (KEY, OTHER_KEY)
    }
    assert len(heads) == 2 * (2 + 2)  # a named user is the same through any key
    assert first_head(AGENT, KEY.hex, KEY) != first_head(AGENT, None, KEY)


def test_any_script_can_be_hashed() -> None:
    by_hand = hashlib.sha256(START + '{"content":[{"text":"день 🎯","type":"text"}],"role":"user"}'.encode()).digest()
    assert extend_head(START, [user("день 🎯")]) == by_hand


def test_arguments_that_no_parser_takes_stand_for_themselves() -> None:
    deep = "[" * 300 + "]" * 300  # deeper than is written, and twenty times as deep as is read
    for text in ("{", "NaN", "1e400", deep, "[" * 20_000 + "]" * 20_000):
        call = CALL | {"function": {"name": "look", "arguments": text}}
        assert canonical({"role": "assistant", "tool_calls": [call]})["tool_calls"][0]["arguments"] == text


@pytest.mark.parametrize(
    ("roles", "before"),
    [
        ("u", 0),
        ("su", 0),
        ("uau", 2),
        ("suau", 3),
        ("ua", 2),
        ("uatu", 2),  # a tool's result after the call is new
        ("uauau", 4),
        ("", 0),
    ],
)
def test_the_history_ends_with_the_last_reply(roles: str, before: int) -> None:
    names = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    messages = [{"role": names[letter], "content": str(place)} for place, letter in enumerate(roles)]
    history, new = split_history(messages)
    assert (list(history), list(new)) == (messages[:before], messages[before:])


def test_what_postgres_cannot_hold_is_replaced_wherever_it_stands() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "a\x00b"}], "n\x00": [1, None, True, 2.5]}
    expected = {"role": "user", "content": [{"type": "text", "text": "a\ufffdb"}], "n\ufffd": [1, None, True, 2.5]}
    assert storable(message) == expected

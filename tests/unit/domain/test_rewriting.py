"""A conversation is known again however its client writes it down, and never where it says something else."""

import json
from copy import deepcopy
from random import Random
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.conversations import extend_head, first_head
from tests.fixtures.rewriting import Message, rewritten

START = first_head(UUID(int=1), None, UUID(int=2))
LONG = settings(max_examples=400, derandomize=True)

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(words, values, max_size=4).map(json.dumps) | st.just("") | st.just("{broken")
calls = st.builds(
    lambda place, name, text: {
        "id": f"call_{place}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    },
    st.integers(0, 99),
    words,
    arguments,
)
image = st.builds(lambda url: {"type": "image_url", "image_url": {"url": f"data:{url}"}}, words)
parts = st.lists(words.map(lambda text: {"type": "text", "text": text}) | image, min_size=1, max_size=3)


def message(role: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return st.fixed_dictionaries({"role": st.just(role), **fields})


messages = st.one_of(
    message("system", content=words),
    message("user", content=words | parts),
    message("assistant", content=words),
    message("assistant", content=words | st.none(), tool_calls=st.lists(calls, min_size=1, max_size=2)),
    message("assistant", content=words, reasoning=words),
    message("tool", content=words, tool_call_id=words),
)
transcripts = st.lists(messages, min_size=1, max_size=5)


@LONG
@given(transcripts, st.integers(0, 2**32))
def test_whatever_clients_rewrite_leaves_the_head_as_it_is(said: list[Message], seed: int) -> None:
    again = json.loads(json.dumps(rewritten(deepcopy(said), Random(seed))))
    assert extend_head(START, again) == extend_head(START, said)


@LONG
@given(transcripts, st.data())
def test_whatever_changes_the_meaning_changes_the_head(said: list[Message], data: st.DataObject) -> None:
    changed = deepcopy(said)
    place = data.draw(st.integers(0, len(said) - 1))
    change(changed, place, data)
    assert extend_head(START, changed) != extend_head(START, said)


def change(said: list[Message], place: int, data: st.DataObject) -> None:
    """One thing that somebody would call another conversation."""
    one = said[place]
    kinds = ["role", "content", "gone", "twice", *(["call"] if one.get("tool_calls") else [])]
    match data.draw(st.sampled_from([*kinds, "tool_call_id"] if "tool_call_id" in one else kinds)):
        case "role":
            one["role"] = "user" if one["role"] != "user" else "system"
        case "content":
            one["content"] = [*as_list(one["content"]), {"type": "text", "text": data.draw(words)}]
        case "gone":
            del said[place]
        case "twice":
            said.insert(place, one)
        case "tool_call_id":
            one["tool_call_id"] += "x"
        case "call":
            change_call(one["tool_calls"], data)


def change_call(called: list[Message], data: st.DataObject) -> None:
    match data.draw(st.sampled_from(["id", "name", "arguments", "one less"])):
        case "id":
            called[0]["id"] += "x"
        case "name":
            called[0]["function"]["name"] += "x"
        case "arguments":
            called[0]["function"]["arguments"] = json.dumps({"another": data.draw(st.integers(1, 9)), "": []})
        case "one less":
            called.pop()


def as_list(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []

"""What a suite demands of a reply, check by check."""

import time
from typing import Any

import pytest

from core.domain.suites import (
    CHECKS,
    Reply,
    ToolCall,
    check_pattern,
    check_schema,
    failures_of,
    fingerprint,
    parse_suite,
)

CALL = ToolCall("lookup", {"order": 47, "options": {"full": True, "lang": "en"}})
ORDER = {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("checks", "text"),
    [
        ({"contains": "30 Days"}, "within 30 days"),
        ({"contains": ["Straße", "b"]}, "B STRASSE"),
        ({"not_contains": ["idiot"]}, "hello"),
        ({"matches": r"\b\d+ days\b"}, "within 30 days"),
        ({"matches": ["^w", "s$"]}, "within 30 days"),
        ({"json_schema": ORDER}, '{"order": 4}'),
        ({"refusal": True}, "I can't help with that."),
        ({"refusal": False}, "Sure."),
        ({"min_characters": 2, "max_characters": 2}, "äö"),
        ({"min_tokens": 3, "max_tokens": 3}, "three"),
        ({}, ""),
    ],
)
def test_a_reply_that_has_what_is_wanted_fails_nothing(checks: dict[str, Any], text: str) -> None:
    assert failures_of(checks, Reply(text, tokens=3)) == []


@pytest.mark.parametrize(
    ("checks", "text", "sentences"),
    [
        ({"contains": ["a", "b", "c"]}, "b", ["It does not contain 'a'.", "It does not contain 'c'."]),
        ({"not_contains": "IDIOT"}, "you idiot", ["It contains 'IDIOT'."]),
        ({"matches": r"^\d+$"}, "4a", [r"It does not match '^\\d+$'."]),
        ({"json_schema": ORDER}, "order: 4", ["It is not JSON."]),
        ({"json_schema": ORDER}, "[" * 100_000, ["It is not JSON."]),
        (
            {"json_schema": ORDER},
            '{"order": "x"}',
            ["Its JSON does not fit the schema at 'properties/order/type'."],
        ),
        ({"json_schema": ORDER}, "{}", ["Its JSON does not fit the schema at 'required'."]),
        ({"tool": {"name": "lookup"}}, "I will look it up.", ["It does not call the tool 'lookup'."]),
        ({"refusal": True}, "Sure.", ["It does not refuse."]),
        ({"refusal": False}, "I can't help with that.", ["It refuses."]),
        ({"min_characters": 9}, "short", ["It has 5 characters, fewer than 9."]),
        ({"max_characters": 2}, "long", ["It has 4 characters, more than 2."]),
        ({"min_tokens": 4}, "", ["It has 3 tokens, fewer than 4."]),
        ({"max_tokens": 2, "contains": "x"}, "", ["It has 3 tokens, more than 2.", "It does not contain 'x'."]),
    ],
)
def test_each_failure_is_a_sentence(checks: dict[str, Any], text: str, sentences: list[str]) -> None:
    assert failures_of(checks, Reply(text, tokens=3)) == sentences


@pytest.mark.parametrize(
    ("arguments", "fails"),
    [
        ({}, False),
        ({"order": 47}, False),
        ({"options": {"lang": "en"}}, False),
        ({"order": 48}, True),
        ({"order": "47"}, True),
        ({"options": {"full": 1}}, True),
        ({"other": None}, True),
    ],
)
def test_a_tool_s_arguments_must_hold_what_is_wanted(arguments: dict[str, Any], fails: bool) -> None:
    reply = Reply("", 1, [ToolCall("lookup", None), CALL])
    assert bool(failures_of({"tool": {"name": "lookup", "arguments": arguments}}, reply)) is fails


def test_a_pattern_that_would_search_for_ever_is_a_failure_within_a_second() -> None:
    began = time.monotonic()
    [sentence] = failures_of({"matches": r"^(?:a|a|aa)+$"}, Reply("a" * 4_000 + "b", 1))
    assert "did not come to an end" in sentence
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "(?P<x>a)(?P=y)", "a" * 1_001, "*"])
def test_what_is_no_pattern_is_refused_when_it_is_written_down(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|expression"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"properties": {"a": {"pattern": "(a+)+$"}}},
        {"allOf": [{"patternProperties": {"(a+)+$": {}}}]},
        {"required": "name"},
    ],
)
def test_what_is_no_schema_is_refused_when_it_is_written_down(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"schema|pattern"):
        check_schema(schema)


@pytest.mark.parametrize("reference", ["#", "#/nowhere", "http://127.0.0.1:1/schema.json", "file:///etc/passwd"])
def test_a_schema_that_refers_elsewhere_fails_and_fetches_nothing(reference: str) -> None:
    [sentence] = failures_of({"json_schema": {"$ref": reference}}, Reply("{}", 1))
    assert "cannot be applied" in sentence


def test_a_suite_is_read_as_it_is_stored() -> None:
    first, second = parse_suite(
        [
            {"prompt": "Hello", "checks": {"contains": "hi"}},
            {
                "name": "tool",
                "messages": [{"role": "user", "content": "x"}],
                "tools": [{}],
                "max_tokens": 8,
                "checks": {},
            },
        ]
    )
    assert (first.name, first.messages, first.max_tokens) == ("prompt 1", [{"role": "user", "content": "Hello"}], None)
    assert (second.name, len(second.tools), second.max_tokens) == ("tool", 1, 8)


def test_a_fingerprint_follows_what_is_asked() -> None:
    suite = [{"prompt": "a", "checks": {"refusal": False}}]
    same = [{"checks": {"refusal": False}, "prompt": "a"}]
    assert fingerprint(suite, None) == fingerprint(same, None)
    assert len({fingerprint(suite, None), fingerprint(suite, "Be kind."), fingerprint([], None)}) == 3


def test_every_check_that_can_be_declared_is_known() -> None:
    from service.agents.suites import Checks

    assert set(Checks.model_fields) == set(CHECKS)

"""A regression suite: prompts whose replies every version must get right, and what right means. Knows no engine."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import regex
from jsonschema.validators import validator_for

from core.domain.refusals import is_refusal

Json = dict[str, Any]

PATTERN_SECONDS = 0.5
"""How long one pattern may search one reply. `re` could not be stopped: it holds the interpreter while it searches."""
MOST_PATTERN = 1_000
DEFAULT_MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a reply calls. Arguments that are no JSON object are None."""

    name: str
    arguments: Json | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a version answered."""

    text: str
    tokens: int
    tool_calls: Sequence[ToolCall] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, and what is demanded of the reply."""

    name: str
    messages: Sequence[Json]
    checks: Json
    tools: Sequence[Json] = field(default=())
    max_tokens: int | None = None


def parse_suite(stored: Sequence[Json]) -> list[Prompt]:
    """The suite as an agent's row holds it. A prompt without a name is called by its place."""
    return [
        Prompt(
            name=prompt.get("name") or f"prompt {place}",
            messages=prompt.get("messages") or [{"role": "user", "content": prompt["prompt"]}],
            checks=prompt["checks"],
            tools=prompt.get("tools") or (),
            max_tokens=prompt.get("max_tokens"),
        )
        for place, prompt in enumerate(stored, 1)
    ]


def fingerprint(stored: Sequence[Json], system_prompt: str | None) -> str:
    """Tells whether a result is about what would be asked today."""
    asked = json.dumps([system_prompt, list(stored)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def failures_of(checks: Mapping[str, Any], reply: Reply) -> list[str]:
    """What the reply gets wrong, a sentence each. None of them quotes it: a reply may repeat what somebody said."""
    return [sentence for name, wanted in checks.items() for sentence in CHECKS[name](wanted, reply)]


def check_pattern(pattern: str) -> None:
    """Raises ValueError for what is no regular expression."""
    if len(pattern) > MOST_PATTERN:
        raise ValueError(f"a pattern may have {MOST_PATTERN} characters")
    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from error


def check_schema(schema: Json) -> None:
    """Raises ValueError for what is no JSON schema, or could search for ever."""
    try:
        validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"is no JSON schema: {error.message}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    for name in ("pattern", "patternProperties"):
        if _mentions(schema, name):
            raise ValueError(f"may not use {name}: put a pattern into `matches`")


def _mentions(schema: object, name: str) -> bool:
    if isinstance(schema, dict):
        return name in schema or any(_mentions(value, name) for value in schema.values())
    return isinstance(schema, list) and any(_mentions(value, name) for value in schema)


def _each(wanted: str | list[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else wanted


def _contains(wanted: str | list[str], reply: Reply) -> list[str]:
    text = reply.text.casefold()
    return [f"It does not contain {part!r}." for part in _each(wanted) if part.casefold() not in text]


def _contains_none(unwanted: str | list[str], reply: Reply) -> list[str]:
    text = reply.text.casefold()
    return [f"It contains {part!r}." for part in _each(unwanted) if part.casefold() in text]


def _matches(wanted: str | list[str], reply: Reply) -> list[str]:
    return [sentence for pattern in _each(wanted) for sentence in _matches_one(pattern, reply.text)]


def _matches_one(pattern: str, text: str) -> list[str]:
    try:
        found = regex.search(pattern, text, timeout=PATTERN_SECONDS)
    except TimeoutError:
        return [f"The pattern {pattern!r} did not come to an end: write it without nested repetitions."]
    return [] if found else [f"It does not match {pattern!r}."]


def _fits_schema(schema: Json, reply: Reply) -> list[str]:
    try:
        value = json.loads(reply.text)
    except (ValueError, RecursionError):
        return ["It is not JSON."]
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        # A registry of one's own: with the default one, a `$ref` would be fetched from the network.
        error = next(kind(schema, registry=jsonschema.validators.SPECIFICATIONS).iter_errors(value), None)
    except Exception as surprise:  # a reference that leads nowhere or in circles; the library has no one name for it
        return [f"The JSON schema cannot be applied: {type(surprise).__name__}."]
    if error is None:
        return []
    place = "/".join(str(part) for part in error.absolute_schema_path)
    return [f"Its JSON does not fit the schema at {place!r}."]


def _calls(wanted: Json, reply: Reply) -> list[str]:
    called = [call for call in reply.tool_calls if call.name == wanted["name"]]
    if not called:
        return [f"It does not call the tool {wanted['name']!r}."]
    arguments = wanted.get("arguments") or {}
    if any(_holds(call.arguments, arguments) for call in called):
        return []
    return [f"It calls {wanted['name']!r} with other arguments than {json.dumps(arguments, ensure_ascii=False)}."]


def _holds(given: object, wanted: object) -> bool:
    """Whether what is wanted is a part of what is given."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return all(name in given and _holds(given[name], value) for name, value in wanted.items())
    return type(given) is type(wanted) and given == wanted


def _refuses(wanted: bool, reply: Reply) -> list[str]:
    if is_refusal(reply.text) is wanted:
        return []
    return ["It does not refuse."] if wanted else ["It refuses."]


def _at_least(unit: str, size: Callable[[Reply], int]) -> Callable[[int, Reply], list[str]]:
    return lambda least, reply: [f"It has {size(reply)} {unit}, fewer than {least}."] if size(reply) < least else []


def _at_most(unit: str, size: Callable[[Reply], int]) -> Callable[[int, Reply], list[str]]:
    return lambda most, reply: [f"It has {size(reply)} {unit}, more than {most}."] if size(reply) > most else []


CHECKS: Mapping[str, Callable[[Any, Reply], list[str]]] = {
    "contains": _contains,
    "not_contains": _contains_none,
    "matches": _matches,
    "json_schema": _fits_schema,
    "tool": _calls,
    "refusal": _refuses,
    "min_characters": _at_least("characters", lambda reply: len(reply.text)),
    "max_characters": _at_most("characters", lambda reply: len(reply.text)),
    "min_tokens": _at_least("tokens", lambda reply: reply.tokens),
    "max_tokens": _at_most("tokens", lambda reply: reply.tokens),
}
"""Each check by its name: what it wants and a reply to what is wrong with that."""

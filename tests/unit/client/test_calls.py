"""The client's calls beside the gateway's own description: every route has one, and says and reads what it does."""

import inspect
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import pytest

from docs_site.reference import document
from nock_client import AsyncNock, Nock, calls
from nock_client.call import Call
from nock_client.shapes import AgentFields, KeyFields, Limits, Outcome
from nock_client.shapes.page import Page

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]

# What the client leaves to others, with the reason.
ELSEWHERE = {
    ("POST", "/v1/chat/completions"): "any OpenAI client does it",
    ("POST", "/chat"): "for people with curl",
    ("GET", "/healthz"): "for orchestrators; it needs no key",
    ("GET", "/readyz"): "for orchestrators; its 503 is an answer and no failure",
    ("GET", "/metrics"): "for Prometheus",
}

ROUTES = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
NAMES = list(calls.__all__)


def describe(name: str) -> Call[Any]:
    """The call with something in each parameter that must be given."""
    function: Callable[..., Call[Any]] = getattr(calls, name)
    needed = {
        parameter.name: [] if parameter.name in ("entries", "scopes") else "x"
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    return function(**needed)


def route_of(name: str) -> tuple[str, str]:
    call = describe(name)
    fits = [
        (method, path)
        for method, path in ROUTES
        if method == call.method and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), call.path)
    ]
    exact = [route for route in fits if route[1] == call.path]
    assert exact or fits, f"calls.{name} goes to {call.method} {call.path}, which the gateway does not have"
    return (exact or fits)[0]


def operation_of(name: str) -> dict[str, Any]:
    method, path = route_of(name)
    operation: dict[str, Any] = DOCUMENT["paths"][path][method.lower()]
    return operation


def parameters_of(name: str) -> set[str]:
    """What a caller can say, the fields of `**fields` among it."""
    found = set()
    for parameter in inspect.signature(getattr(calls, name)).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            (fields,) = get_args(parameter.annotation)
            assert get_origin(parameter.annotation) is Unpack
            found |= set(fields.__annotations__)
        else:
            found.add(parameter.name)
    return found


def test_every_route_has_a_call_or_a_reason_to_have_none() -> None:
    missing = set(ROUTES) - {route_of(name) for name in NAMES} - set(ELSEWHERE)
    assert not missing, (
        f"The client lacks {sorted(missing)}. Add a function to nock_client/calls/, its name to calls.__all__, and a "
        "line `name = _sending(calls.name)` to blocking.py and asynchronous.py; or a reason to ELSEWHERE here."
    )


def test_no_reason_is_given_for_a_route_that_is_gone() -> None:
    assert set(ELSEWHERE) <= set(ROUTES)


@pytest.mark.parametrize("client", [Nock, AsyncNock])
def test_every_call_is_a_method_of_both_clients(client: type) -> None:
    assert [name for name in NAMES if not hasattr(client, name)] == []
    assert {inspect.signature(getattr(client, name)).return_annotation for name in NAMES} == {
        inspect.signature(getattr(calls, name)).return_annotation for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_call_can_say_all_that_its_route_takes_and_nothing_else(name: str) -> None:
    operation = operation_of(name)
    takes = {each["name"] for each in operation.get("parameters", []) if each["in"] == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        takes |= set(properties(content["schema"])) - set(describe(name).files)
    said = parameters_of(name) - set(re.findall(r"\{(\w+)", route_of(name)[1])) - {"folder"}
    assert said == takes, f"calls.{name} can say {sorted(said)}, its route takes {sorted(takes)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_call_sends_all_that_it_was_told(name: str) -> None:
    parameters = inspect.signature(getattr(calls, name)).parameters.values()
    told = {each.name: "x" for each in parameters if each.kind is not each.VAR_KEYWORD} | {"entries": [{"value": 1}]}
    told = {each: value for each, value in told.items() if each in inspect.signature(getattr(calls, name)).parameters}
    call = getattr(calls, name)(**told)
    in_path = set(re.findall(r"\{(\w+)", route_of(name)[1]))
    assert set(told) - in_path - {"folder"} == set(call.query) | set(call.body or {})


@pytest.mark.parametrize("name", NAMES)
def test_a_call_reads_what_its_route_answers(name: str) -> None:
    (answer,) = get_args(inspect.signature(getattr(calls, name)).return_annotation)
    ok = next(response for status, response in operation_of(name)["responses"].items() if status.startswith("2"))
    compare(answer, ok["content"]["application/json"]["schema"], name)


@pytest.mark.parametrize(
    ("fields", "schema"),
    [(AgentFields, "AgentChange"), (KeyFields, "KeyChange"), (Limits, "LimitsIn"), (Outcome, "FeedbackIn")],
)
def test_what_is_sent_has_the_fields_that_are_taken(fields: type, schema: str) -> None:
    compare(fields, SCHEMAS[schema], schema)


def properties(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
    found: dict[str, Any] = resolve(schema)["properties"]
    return found


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def compare(annotation: Any, schema: dict[str, Any], where: str) -> None:
    """Fail, saying where, if a value of this schema is not one of this type."""
    schema = resolve(schema)
    if get_origin(annotation) in (NotRequired, Required):
        (annotation,) = get_args(annotation)
    if is_typeddict(annotation) or is_typeddict(get_origin(annotation)):
        compare_fields(annotation, schema, where)
    elif "anyOf" in schema or get_origin(annotation) in (Union, UnionType):
        compare_options(annotation, schema, where)
    elif "enum" in schema or "const" in schema:
        assert set(get_args(annotation)) == set(schema.get("enum", [schema.get("const")])), where
    elif schema.get("type") == "array":
        assert get_origin(annotation) is list, where
        compare(get_args(annotation)[0], schema.get("items", {}), f"{where}[]")
    elif schema.get("type") == "object":
        compare_object(annotation, schema, where)
    else:
        simple = {"string": str, "integer": int, "number": float, "boolean": bool, None: Any}
        assert annotation is simple[schema.get("type")], where


def compare_object(annotation: Any, schema: dict[str, Any], where: str) -> None:
    assert get_origin(annotation) is dict, where
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        compare(get_args(annotation)[1], values, f"{where}{{}}")


def compare_options(annotation: Any, schema: dict[str, Any], where: str) -> None:
    if annotation is Any:
        return
    options = schema.get("anyOf", [schema])
    has_null = any(option.get("type") == "null" for option in options)
    assert has_null == (NoneType in get_args(annotation)), f"{where}: null or not"
    rest = [one for one in get_args(annotation) if one is not NoneType] or [annotation]
    solid = [option for option in options if option.get("type") != "null"]
    assert len(rest) == len(solid) or get_origin(annotation) is Literal, f"{where}: {annotation}"
    if len(solid) == 1:
        compare(rest[0], solid[0], where)
    else:
        simple = {"string": str, "number": float, "boolean": bool}
        assert set(rest) == {simple[option["type"]] for option in solid}, where


def compare_fields(annotation: Any, schema: dict[str, Any], where: str) -> None:
    shape = get_origin(annotation) or annotation
    hints = get_type_hints(shape, include_extras=True)
    if shape is Page or Page in getattr(shape, "__orig_bases__", ()):
        (entry,) = get_args(annotation)
        hints = {"data": list[entry], "next": str | None}
    documented = schema.get("properties", {})
    required = set(schema.get("required", ()))
    assert set(documented) <= set(hints), f"{where} lacks {sorted(set(documented) - set(hints))}"
    extra = set(hints) - set(documented)
    assert extra <= set(shape.__optional_keys__), f"{where} has {sorted(extra)}, which the gateway does not"
    assert required <= set(shape.__required_keys__), f"{where}: {sorted(required)} is always there"
    for name, described in documented.items():
        if not (shape.__name__ == "Lineage" and name == "data"):
            compare(hints[name], described, f"{where}.{name}")


def test_what_is_taken_away_from_a_key_is_sent_and_what_is_not_named_stays() -> None:
    call = calls.change_key("key_1", name=None, limits={"requests_per_minute": 5})
    assert call.body == {"name": None, "limits": {"requests_per_minute": 5}}


def test_a_rotation_is_not_sent_twice_since_the_second_would_end_the_first_ones_grace() -> None:
    assert not calls.rotate_key("key_1").repeatable

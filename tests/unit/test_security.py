"""The page on security says what is so: each test that it names exists, and no route sets an address to call."""

import re
from typing import Any

from pydantic import SecretStr

from core.settings import DatabaseSettings, EngineSettings, SecretSettings
from service.app import create_app
from service.settings import GatewaySettings
from tests.fixtures.settings import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ADDRESS = re.compile("url|host|address|endpoint|webhook|callback|dns|proxy")


def test_each_test_that_the_page_names_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / file).exists() or not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.M)
    ]
    assert missing == []


def test_each_of_the_ten_risks_names_a_test() -> None:
    rows = re.findall(r"(?m)^\| API(\d+) .*::test_", PAGE)
    assert rows == [str(number) for number in range(1, 11)]


def test_no_body_names_an_address_that_nock_would_call() -> None:
    app = create_app(
        GatewaySettings(),
        DatabaseSettings(database_url="unused"),
        EngineSettings(engine_urls="http://unused:8000"),
        SecretSettings(secret=SecretStr("a" * 32)),
    )
    document = app.openapi()
    asked = [
        operation["requestBody"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    names = {name for body in asked for name in _properties(body, document["components"]["schemas"], set())}
    assert len(names) > 50
    assert [name for name in sorted(names) if ADDRESS.search(name)] == []


def _properties(schema: Any, schemas: dict[str, Any], seen: set[str]) -> set[str]:
    """The names of all fields of a schema and of those that it refers to."""
    if isinstance(schema, list):
        return {name for each in schema for name in _properties(each, schemas, seen)}
    if not isinstance(schema, dict):
        return set()
    found = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    reference = schema.get("$ref", "").rpartition("/")[2]
    if reference and reference not in seen:
        seen.add(reference)
        found |= _properties(schemas[reference], schemas, seen)
    return found | {name for each in schema.values() for name in _properties(each, schemas, seen)}

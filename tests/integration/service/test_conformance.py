"""The API does what its description says, whatever it is sent. `make soak-conformance`: the long form.

Each operation is asked with what fits its description, at random and about things that there are, and with what does
not. No answer is a 5xx, and each is described: its status, its type, its shape, its headers.
"""

import asyncio
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.domain.adapters import AdapterState
from core.settings import DatabaseSettings, EngineSettings, SecretSettings
from core.storage.database import Database
from service.app import create_app
from service.settings import GatewaySettings
from tests.fixtures.builders import create_adapter, create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.one_of_everything import make_one_of_everything
from tests.fixtures.scripted_engine import ScriptedEngine

APP = create_app(
    GatewaySettings(),
    DatabaseSettings(database_url="unused"),
    EngineSettings(engine_urls="http://unused:8000"),
    SecretSettings(secret=SecretStr("a" * 32)),
)
OPERATIONS = {
    found.ok().label: found.ok() for found in schemathesis.openapi.from_dict(APP.openapi()).get_all_operations()
}

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "metric": "reward", "value": 1}
"""What is no name of a thing, and yet has to make sense."""

SHORT = settings(max_examples=12, derandomize=True)
PHASES = [Phase.explicit, Phase.generate]
"""Without shrinking, which asks hundreds of times more: schemathesis prints the request."""


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_adapter(database, await create_agent(database, "demo"), state=AdapterState.CANDIDATE)


@pytest.mark.parametrize("label", OPERATIONS)
async def test_whatever_is_sent_the_answer_is_one_that_the_description_names(
    gateway: RunningGateway, database: Database, label: str
) -> None:
    known = await make_one_of_everything(gateway, database)
    secret, _ = await create_key(database)
    form = settings(max_examples=300) if settings.get_current_profile_name() == "soak" else SHORT
    patient = settings(form, deadline=None, database=None, phases=PHASES, suppress_health_check=list(HealthCheck))

    @patient
    @given(case=cases(OPERATIONS[label], known))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(gateway.url, headers={"Authorization": f"Bearer {secret}"}, checks=CHECKS)

    await asyncio.to_thread(ask)


BODIES = [operation for operation in OPERATIONS.values() if "requestBody" in operation.definition.raw]
UNREADABLE: dict[int, tuple[bytes, dict[str, str]]] = {
    400: (b"no gzip", {"Content-Encoding": "gzip"}),
    413: (b"x" * 2048, {}),
    415: (b"{}", {"Content-Encoding": "br"}),
}


@pytest.mark.parametrize("operation", BODIES, ids=lambda operation: operation.label)
async def test_a_body_that_cannot_be_read_is_refused_as_the_description_says(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, database: Database, operation: Any
) -> None:
    secret, _ = await create_key(database)
    limits = ("max_body_bytes", "chat_body_bytes", "feedback_batch_bytes", "adapter_bytes")
    async with start_gateway(scripted_engine.url, **dict.fromkeys(limits, 1024)) as gateway:
        known = await make_one_of_everything(gateway, database)
        media = next(iter(operation.definition.raw["requestBody"]["content"]))
        for status, (content, headers) in UNREADABLE.items():
            answer = await gateway.nobody.request(
                operation.method,
                operation.path.format_map(known),
                content=content,
                headers={"Authorization": f"Bearer {secret}", "Content-Type": f"{media}; boundary=x", **headers},
            )
            assert answer.status_code == status, answer.text
            assert str(status) in operation.definition.raw["responses"]


def cases(operation: Any, known: dict[str, str]) -> st.SearchStrategy[schemathesis.Case]:
    """Requests that fit the description, those that do besides name what there is, and those that do not fit."""
    own = {name: known[name] for name in re.findall(r"\{([a-z_]+)\}", operation.path)}
    named = operation.as_strategy(path_parameters=own or None)
    ways = [
        operation.as_strategy(),
        named.map(lambda case: aim(case, known)),
        named.map(lambda case: trim(case, known)),
    ]
    if operation.body or list(operation.iter_parameters()):
        ways.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=own or None))
    return st.one_of(ways)


def aim(case: schemathesis.Case, known: dict[str, str]) -> schemathesis.Case:
    """The same request, with what its body names replaced by things that there are."""
    if isinstance(case.body, dict):
        case.body |= {name: known[name] for name in case.body if name in known}
    return case


def trim(case: schemathesis.Case, known: dict[str, str]) -> schemathesis.Case:
    """A request that is good: what it must hold, and of the rest what there is and whether it is a stream."""
    schema = re.search(r"#/components/schemas/(\w+)", str(case.operation.definition.raw.get("requestBody")))
    if schema and isinstance(case.body, dict):
        fields = APP.openapi()["components"]["schemas"][schema[1]]
        good = {name: value for name, value in (known | GOOD).items() if name in fields["properties"]}
        case.body = {
            name: case.body[name] for name in case.body if name in [*fields.get("required", ()), "stream"]
        } | good
    return case

"""Every route of the app, as it is met by who has no key, one that is good no more, and another tenant's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, _IncludedRouter
from pydantic import SecretStr

from core.domain.adapters import AdapterState
from core.domain.ids import new_id
from core.settings import DatabaseSettings, EngineSettings, SecretSettings
from core.storage.database import Database
from core.storage.repositories import keys
from service.app import create_app
from service.settings import GatewaySettings
from tests.fixtures.builders import create_adapter, create_agent, create_key
from tests.fixtures.gateway import RunningGateway, client
from tests.fixtures.one_of_everything import SAY, make_one_of_everything

OPEN = {"/healthz", "/readyz", "/metrics"}
LISTS = {
    "/v1/models",
    "/admin/agents",
    "/admin/audit",
    "/admin/erasures",
    "/admin/keys",
    "/feedback/dead-letters",
}
"""What shows a key what is its own."""

SECRET = re.compile("only demo's tenant|demo|belongs to us")
"""What stands in whatever belongs to the agent `demo`."""


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route that asks for a key: those of the app itself, in no list of ours."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            if path not in OPEN:
                yield method.upper(), path


APP = create_app(
    GatewaySettings(),
    DatabaseSettings(database_url="unused"),
    EngineSettings(engine_urls="http://unused:8000"),
    SecretSettings(secret=SecretStr("a" * 32)),
)
ROUTES = sorted(routes_of(APP))


@dataclass(frozen=True)
class Tenants:
    """`demo` is ours and has one of everything; `other` is the stranger's."""

    ids: dict[str, str]
    bad: dict[str, str | None]
    """Secrets that open nothing; `rotated` is one whose grace is over."""
    stranger: httpx.AsyncClient


@pytest.fixture(autouse=True)
async def agents(database: Database) -> None:
    demo = await create_agent(database, "demo")
    await create_adapter(database, demo, state=AdapterState.CANDIDATE)
    await create_agent(database, "other")


@pytest.fixture
async def tenants(gateway: RunningGateway, database: Database) -> Any:
    known = await make_one_of_everything(gateway, database)
    secret, _ = await create_key(database, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        yield Tenants(known, await bad_secrets(database), stranger)


def filled(path: str, known: dict[str, str]) -> str:
    return re.sub(r"\{([a-z_]+)(?::path)?\}", lambda name: known[name[1]], path)


def body_for(method: str, path: str, known: dict[str, str]) -> Any:
    """A body that is good, so that nothing but the key is at fault."""
    bodies: dict[str, Any] = {
        "/v1/chat/completions": SAY,
        "/chat": {"agent": "demo", "message": "x"},
        "/feedback": {"turn_id": known["turn_id"], "value": 1},
        "/feedback/batch": {"entries": [{"turn_id": known["turn_id"], "value": 1}]},
        "/admin/agents": {"name": "demo", "base_model": "tiny"},
        "/admin/keys": {"scopes": ["chat"], "agents": ["demo"]},
        "/admin/adapters/{adapter}/promote": {"reason": "x", "force": True},
        "/admin/adapters/{adapter}/canary": {"weight": 0.1, "reason": "x", "force": True},
        "/admin/agents/{agent}": {"discount": 0.5},
        "/admin/keys/{key_id}": {"name": "x"},
    }
    return bodies.get(path, {}) if method in ("POST", "PATCH") else None


def test_the_app_has_no_route_beside_those_that_it_describes() -> None:
    described = {(method, path.replace(":path", "")) for method, path in ROUTES} | {("GET", path) for path in OPEN}
    routers = [included.original_router for included in APP.routes if isinstance(included, _IncludedRouter)]
    served = {
        (method, route.path.replace(":path", ""))
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert len(served) > 40
    assert served - described == set()


async def test_every_route_is_closed_to_who_has_no_good_key(tenants: Tenants, gateway: RunningGateway) -> None:
    for name, secret in tenants.bad.items():
        async with client(gateway.url, secret) as nobody:
            for method, path in ROUTES:
                answer = await ask(nobody, method, path, tenants)
                assert answer.status_code == 401, (name, method, path, answer.text)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                if name in ("expired", "rotated"):
                    assert answer.json()["error"]["code"] == "expired_api_key"


async def test_no_route_shows_or_changes_what_is_another_tenants(tenants: Tenants, gateway: RunningGateway) -> None:
    before = await seen_by(gateway.admin, tenants)
    for method, path in ROUTES:
        answer = await ask(tenants.stranger, method, path, tenants)
        if (method, path) == ("POST", "/admin/keys"):
            assert answer.status_code == 403, "it asks for more than it has; that tells nothing of others"
        elif path == "/feedback/batch":
            assert [entry["status"] for entry in answer.json()["data"]] == [404]
        elif path in LISTS and method == "GET":
            assert answer.status_code == 200, (path, answer.text)
            assert not SECRET.search(answer.text), (path, answer.text)
        else:
            assert answer.status_code == 404, (method, path, answer.text)
    assert await seen_by(gateway.admin, tenants) == before


async def ask(holder: httpx.AsyncClient, method: str, path: str, tenants: Tenants) -> httpx.Response:
    return await holder.request(method, filled(path, tenants.ids), json=body_for(method, path, tenants.ids))


async def seen_by(holder: httpx.AsyncClient, tenants: Tenants) -> list[str]:
    """All that there is of `demo`."""
    paths = [path for method, path in ROUTES if method == "GET"]
    answers = [await ask(holder, "GET", path, tenants) for path in paths]
    return [answer.text for path, answer in zip(paths, answers, strict=True) if not path.startswith("/feedback")]


async def bad_secrets(database: Database) -> dict[str, str | None]:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired, _ = await create_key(database, expires_at=past)
    revoked, one = await create_key(database)
    rotated, other = await create_key(database)
    async with database.transaction() as session:
        for row in (one, other):
            locked = await keys.lock_key(session, row.id)
            assert locked is not None
            if row is one:
                await keys.revoke_key(session, locked, by="test")
            else:
                await keys.rotate_key(session, locked, new_id().bytes, timedelta(0), by="test")
    return {
        "none": None,
        "empty": "",
        "unknown": "nk_unknown",
        "revoked": revoked,
        "expired": expired,
        "rotated": rotated,
    }

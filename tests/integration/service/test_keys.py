"""Keys: scopes on each route, tenants that do not see each other, revocation within two seconds everywhere."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from core.domain.keys import Scope
from core.settings import DatabaseSettings, EngineSettings, SecretSettings
from core.storage.database import Database
from service.app import create_app
from service.settings import GatewaySettings
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.scripted_engine import ScriptedEngine

SAY = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}

ROUTES: list[tuple[str, str, set[Scope]]] = [
    ("POST", "/v1/chat/completions", {Scope.CHAT}),
    ("POST", "/chat", {Scope.CHAT}),
    ("GET", "/v1/models", set(Scope)),
    ("GET", "/v1/models/x", set(Scope)),
    ("GET", "/conversations/x", {Scope.CHAT, Scope.ADMIN}),
    ("POST", "/conversations/x/close", set(Scope)),
    ("DELETE", "/conversations/x", {Scope.ADMIN}),
    ("DELETE", "/users/x", {Scope.ADMIN}),
    ("GET", "/admin/erasures", {Scope.ADMIN}),
    ("GET", "/admin/erasures/x", {Scope.ADMIN}),
    ("POST", "/feedback", {Scope.FEEDBACK}),
    ("POST", "/feedback/batch", {Scope.FEEDBACK}),
    ("DELETE", "/feedback/x", {Scope.FEEDBACK}),
    ("GET", "/feedback/dead-letters", {Scope.FEEDBACK}),
    ("POST", "/feedback/dead-letters/x/retry", {Scope.FEEDBACK}),
    ("POST", "/admin/agents", {Scope.ADMIN}),
    ("GET", "/admin/agents", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo", {Scope.ADMIN}),
    ("PATCH", "/admin/agents/demo", {Scope.ADMIN}),
    ("POST", "/admin/agents/demo/learn", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo/runs", {Scope.ADMIN}),
    ("GET", "/admin/runs/x", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo/adapters", {Scope.ADMIN}),
    ("POST", "/admin/agents/demo/adapters", {Scope.ADMIN}),
    ("GET", "/admin/adapters/demo@base", {Scope.ADMIN}),
    ("GET", "/admin/adapters/demo@base/lineage", {Scope.ADMIN}),
    ("POST", "/admin/adapters/demo@v9/promote", {Scope.ADMIN}),
    ("POST", "/admin/adapters/demo@v9/canary", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo/canaries", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo/rollout/events", {Scope.ADMIN}),
    ("POST", "/admin/adapters/demo@v9/suite", {Scope.ADMIN}),
    ("POST", "/admin/adapters/demo@v9/reject", {Scope.ADMIN}),
    ("POST", "/admin/agents/demo/rollback", {Scope.ADMIN}),
    ("GET", "/admin/agents/demo/rollout", {Scope.ADMIN}),
    ("POST", "/admin/keys", {Scope.ADMIN}),
    ("GET", "/admin/keys", {Scope.ADMIN}),
    ("PATCH", "/admin/keys/x", {Scope.ADMIN}),
    ("DELETE", "/admin/keys/x", {Scope.ADMIN}),
    ("POST", "/admin/keys/x/rotate", {Scope.ADMIN}),
    ("GET", "/admin/audit", {Scope.ADMIN}),
]

OPEN = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


def test_every_route_that_needs_a_key_is_listed_here() -> None:
    app = create_app(
        GatewaySettings(),
        DatabaseSettings(database_url="unused"),
        EngineSettings(engine_urls="http://unused"),
        SecretSettings(secret=SecretStr("a" * 32)),
    )
    paths = app.openapi()["paths"]
    written = {
        (method.upper(), re.sub(r"\{[a-z_]+(:path)?\}", "*", path))
        for path, methods in paths.items()
        for method in methods
    }
    listed = {(method, re.sub(r"/(demo@?(base|v9)?|x)(?=/|$)", "/*", path)) for method, path, _ in ROUTES}
    assert {(method, path) for method, path in written if path not in OPEN} == listed


@pytest.mark.parametrize(("method", "path", "scopes"), ROUTES, ids=[f"{m} {p}" for m, p, _ in ROUTES])
async def test_a_route_lets_only_its_scopes_pass(
    gateway: RunningGateway, database: Database, method: str, path: str, scopes: set[Scope]
) -> None:
    body = (
        SAY
        if path.startswith("/v1/chat")
        else {"agent": "demo", "message": "x"}
        if path == "/chat"
        else {"turn_id": "x", "value": 1}
    )
    for secret, status in ((None, 401), ("nk_wrong", 401), ("", 401)):
        async with client(gateway.url, secret) as stranger:
            answer = await stranger.request(method, path, json=body)
            assert answer.status_code == status
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    for scope, holder in ((Scope.CHAT, gateway.chat), (Scope.FEEDBACK, gateway.feedback), (Scope.ADMIN, gateway.admin)):
        answer = await holder.request(method, path, json=body)
        assert (answer.status_code == 403) == (scope not in scopes), (scope, answer.text)


async def test_what_a_key_may_not_see_does_not_exist_for_it(gateway: RunningGateway, database: Database) -> None:
    turn = await gateway.chat.post("/v1/chat/completions", json=SAY | {"metadata": {"conversation_id": "mine"}})
    secret, _ = await create_key(database, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.post("/v1/chat/completions", json=SAY)).status_code == 404
        assert (await stranger.post("/v1/chat/completions", json=SAY | {"model": "demo@base"})).status_code == 404
        assert (await stranger.get("/v1/models")).json()["data"] == []
        for name in ("mine", turn.headers["X-Conversation-Id"]):
            assert (await stranger.get(f"/conversations/{name}")).status_code == 404
            assert (await stranger.post(f"/conversations/{name}/close")).status_code == 404
            assert (await stranger.post("/feedback", json={"conversation_id": name, "value": 1})).status_code == 404
        assert (
            await stranger.post("/feedback", json={"turn_id": turn.headers["X-Turn-Id"], "value": 1})
        ).status_code == 404
        for path in (
            "/admin/agents/demo",
            "/admin/agents/demo/rollout",
            "/admin/adapters/demo@base",
            "/admin/agents/demo/runs",
        ):
            assert (await stranger.get(path)).status_code == 404
        assert (await stranger.get("/admin/agents")).json()["data"] == []
        made = await stranger.post("/admin/keys", json={"scopes": ["chat"]})
        assert made.status_code == 403


async def test_a_secret_is_shown_once_and_kept_as_a_hash(gateway: RunningGateway, database: Database) -> None:
    made = await gateway.admin.post("/admin/keys", json={"scopes": ["chat"], "agents": ["demo"], "name": "shop"})
    assert made.status_code == 201, made.text
    secret = made.json()["secret"]
    listed = await gateway.admin.get("/admin/keys")
    assert secret not in listed.text
    assert "shop" in listed.text
    async with database.transaction() as session:
        for table in ("api_keys",):
            rows = (await session.execute(text(f"SELECT {table}::text FROM {table}"))).scalars().all()
            assert all(secret not in row for row in rows)
    async with client(gateway.url, secret) as shop:
        assert (await shop.post("/v1/chat/completions", json=SAY)).status_code == 200


async def test_a_revoked_key_is_refused_by_every_gateway_within_two_seconds(
    gateway: RunningGateway, start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url) as second:
        made = (await gateway.admin.post("/admin/keys", json={"scopes": ["chat"]})).json()
        async with client(gateway.url, made["secret"]) as here, client(second.url, made["secret"]) as there:
            assert [(await each.get("/v1/models")).status_code for each in (here, there)] == [200, 200]
            await gateway.admin.delete(f"/admin/keys/{made['key_id']}")
            revoked = time.monotonic()
            assert (await here.get("/v1/models")).status_code == 401
            while (await there.get("/v1/models")).status_code != 401:
                assert time.monotonic() - revoked < 2
                await asyncio.sleep(0.01)


async def test_an_expired_key_is_refused(gateway: RunningGateway, database: Database) -> None:
    secret, _ = await create_key(database, Scope.CHAT, expires_at=datetime.now(UTC) + timedelta(seconds=0.6))
    async with client(gateway.url, secret) as holder:
        assert (await holder.get("/v1/models")).status_code == 200
        await asyncio.sleep(0.7)
        assert (await holder.get("/v1/models")).status_code == 401


async def test_the_bootstrap_key_becomes_the_first_admin_key_and_never_the_second(
    start_gateway: StartGateway, database: Database, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url, bootstrap_admin_key="nk_late") as gateway:
        async with client(gateway.url, "nk_late") as late:
            assert (await late.get("/admin/keys")).status_code == 401
        async with database.transaction() as session:
            await session.execute(text("DELETE FROM api_keys"))
    starting = start_gateway(scripted_engine.url, bootstrap_admin_key="nk_first")
    async with starting as gateway, client(gateway.url, "nk_first") as first:
        assert (await first.get("/admin/keys")).status_code == 200

"""The places in an engine: counted, given up by those that nobody needs, and refused by name where none is free."""

from pathlib import Path

import httpx
import pytest

from core.engine.pool import open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine

TWO_PLACES = {"engine_room": 2, "engine_timeout_seconds": 0.2}


@pytest.fixture(autouse=True)
async def agent(database: Database, tmp_path: Path) -> models.Agent:
    """An agent with four candidates."""
    agent = await create_agent(database, "demo")
    for number in (1, 2, 3, 4):
        await register(database, agent, tmp_path / f"v{number}")
    return agent


async def promote(gateway: RunningGateway, adapter: str) -> httpx.Response:
    return await gateway.admin.post(f"/admin/adapters/{adapter}/promote", json={"reason": "better", "force": True})


async def chat(gateway: RunningGateway, conversation: str) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers={"X-Conversation-Id": conversation})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"]


async def test_a_version_without_room_is_refused_with_those_that_hold_the_places(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url, engine=TWO_PLACES) as gateway:
        await promote(gateway, "demo@v1")
        assert await chat(gateway, "open") == "demo@v1"
        assert (await promote(gateway, "demo@v2")).status_code == 200
        for how, body in (("promote", {}), ("canary", {"weight": 0.5})):
            refused = await gateway.admin.post(
                f"/admin/adapters/demo@v3/{how}", json={"reason": "more", "force": True, **body}
            )
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no_room")
            assert "demo@v1 (retired, 1 open conversations)" in refused.json()["error"]["message"]
            assert "demo@v2 (stable, 0 open conversations)" in refused.json()["error"]["message"]
        assert list(scripted_engine.adapters) == ["demo@v1", "demo@v2"]
        assert (await promote(gateway, "demo@v1")).status_code == 200, "what has a place needs no other"
        assert (await gateway.admin.post("/admin/agents/demo/rollback")).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_that_pins_a_version_without_room_is_told_to_come_again(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    async with start_gateway(scripted_engine.url, engine={"engine_room": 2}) as gateway:
        await promote(gateway, "demo@v1")
        assert await chat(gateway, "open") == "demo@v1"
        await promote(gateway, "demo@v2")
        body = {"messages": [{"role": "user", "content": "hello"}], "stream": stream, "store": False}
        refused = await gateway.admin.post("/v1/chat/completions", json={"model": "demo@v3", **body})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_room")
        assert "Retry-After" in refused.headers
        assert "demo@v1" not in refused.text, "who holds the places may be none of the client's business"


async def test_a_place_that_nobody_needs_is_given_to_the_next_version(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    async with start_gateway(scripted_engine.url, engine=TWO_PLACES) as gateway:
        await promote(gateway, "demo@v1")
        await promote(gateway, "demo@v2")
        await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})
        assert (await promote(gateway, "demo@v3")).status_code == 200
        assert list(scripted_engine.adapters) == ["demo@v2", "demo@v3"]


async def test_the_version_before_the_one_that_was_rolled_back_to_takes_nobodys_place(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, database: Database
) -> None:
    three = {"engine_room": 3, "engine_timeout_seconds": 0.2}
    settings = EngineSettings.model_validate({"engine_urls": scripted_engine.url, **three})
    async with start_gateway(scripted_engine.url, engine=three) as gateway, open_pool(settings) as pool:
        for adapter in ("demo@v1", "demo@v2", "demo@v3"):
            assert (await promote(gateway, adapter)).status_code == 200
        assert await chat(gateway, "open") == "demo@v3"
        pinned = {"model": "demo@v4", "messages": [{"role": "user", "content": "hello"}]}
        assert (await gateway.admin.post("/v1/chat/completions", json=pinned)).status_code == 200
        assert (await gateway.admin.post("/admin/agents/demo/rollback")).status_code == 200
        await reconciling.reconcile(database, pool)
        assert sorted(scripted_engine.adapters) == ["demo@v2", "demo@v3", "demo@v4"]

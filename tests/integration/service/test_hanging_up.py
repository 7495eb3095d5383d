"""A client that hangs up before its reply has begun: the engine stops at once, and nothing is kept."""

import asyncio
from typing import Any

import httpx
import pytest

from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

MESSAGES = [{"role": "user", "content": "hello"}]
OPENAI: dict[str, Any] = {"model": "demo", "messages": MESSAGES, "metadata": {"conversation_id": "ours"}}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", OPENAI),
        ("/v1/chat/completions", OPENAI | {"stream": True}),
        ("/chat", {"agent": "demo", "message": "hello", "conversation_id": "ours"}),
    ],
    ids=["whole", "stream", "chat"],
)
async def test_who_hangs_up_before_the_reply_stops_the_engine_leaves_no_turn_and_may_ask_again(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, path: str, body: dict[str, Any]
) -> None:
    scripted_engine.fault = "hang"
    asking = asyncio.create_task(gateway.chat.post(path, json=body))
    await eventually(lambda: len(scripted_engine.requests) == 1)
    asking.cancel()
    await eventually(lambda: scripted_engine.hung_up == 1, seconds=5.0)
    await eventually(lambda: gateway.app.state.capacity.under_way == 0)
    assert gateway.app.state.gateway.pool.engines[0].in_flight == 0
    found = (await gateway.chat.get("/conversations/ours?agent=demo")).json()
    assert found["turns"] == []
    scripted_engine.fault = None
    again = await gateway.chat.post(path, json=body)
    assert again.status_code == 200
    found = (await gateway.chat.get("/conversations/ours?agent=demo")).json()
    assert [turn["finish_reason"] for turn in found["turns"]] == ["stop"]


async def test_a_client_that_gives_up_by_its_own_time_out_is_one_that_hung_up(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 60.0
    with pytest.raises(httpx.ReadTimeout):
        await gateway.chat.post("/v1/chat/completions", json=OPENAI, timeout=0.5)
    await eventually(lambda: scripted_engine.hung_up == 1, seconds=5.0)

"""A conversation's turns meet the engine that remembers them, until it is busy or gone."""

import asyncio
from collections import defaultdict

import pytest

from core.engine.affinity import MORE
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

TALKS = [f"talk-{number}" for number in range(12)]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def say(gateway: RunningGateway, talk: str) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": talk}]}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers={"X-Conversation-Id": talk})
    assert answer.status_code == 200, answer.text


def met(*engines: ScriptedEngine) -> dict[str, set[str]]:
    """By conversation, the engines that heard of it."""
    found = defaultdict(set)
    for engine in engines:
        for request in engine.requests:
            found[request["messages"][-1]["content"]].add(engine.url)
    return found


async def test_gateways_agree_on_the_engine_of_each_conversation(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    there, back = f"{scripted_engine.url},{second_engine.url}", f"{second_engine.url},{scripted_engine.url}"
    async with (
        start_gateway(there, retry_window_seconds=0) as one,
        start_gateway(back, retry_window_seconds=0) as other,
    ):
        for _ in range(2):
            for talk in TALKS:
                await say(one, talk)
                await say(other, talk)
    heard = met(scripted_engine, second_engine)
    assert {len(engines) for engines in heard.values()} == {1}
    assert set.union(*heard.values()) == {scripted_engine.url, second_engine.url}


async def test_a_busy_engine_gives_way_and_gets_its_conversation_back_when_it_is_not(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, retry_window_seconds=0) as gateway:
        await say(gateway, "ours")
        home, other = scripted_engine, second_engine
        if not home.requests:
            home, other = other, home
        home.pause = other.pause = 60.0
        waiting = [asyncio.create_task(say(gateway, "ours")) for _ in range(2 * MORE + 2)]
        await eventually(lambda: len(home.requests) + len(other.requests) == 2 * MORE + 3)
        assert 1 <= len(other.requests) <= MORE + 1, "no more than the bound lies between them"
        for one in waiting:
            one.cancel()
        await eventually(lambda: home.hung_up + other.hung_up == 2 * MORE + 2)
        home.pause = other.pause = 0.0
        before = len(home.requests)
        await say(gateway, "ours")
        assert len(home.requests) == before + 1


async def test_a_conversation_moves_when_its_engine_is_away_and_returns_with_it(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, retry_window_seconds=0, engine_check_seconds=0.05) as gateway:
        engines = gateway.app.state.gateway.pool.engines
        await say(gateway, "ours")
        home, other = (scripted_engine, second_engine) if scripted_engine.requests else (second_engine, scripted_engine)
        place = next(engine for engine in engines if engine.url == home.url)
        home.fault = "away"
        await eventually(lambda: place.models is None)
        await say(gateway, "ours")
        assert (len(home.requests), len(other.requests)) == (1, 1)
        home.fault = None
        await eventually(lambda: place.models is not None)
        await say(gateway, "ours")
        assert (len(home.requests), len(other.requests)) == (2, 1)

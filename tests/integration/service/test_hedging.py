"""A second engine is asked too where the first says nothing: one answer is told and recorded, the other is cut off."""

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import count

import httpx
import pytest
from sqlalchemy import func, select

from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

HEDGED = {"engine_hedge_seconds": 0.2, "engine_timeout_seconds": 20.0}
_numbers = count()


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> AsyncIterator[RunningGateway]:
    """In front of two engines, and in no hurry to look at them again."""
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, engine=HEDGED, engine_check_seconds=60.0) as running:
        yield running


async def say(gateway: RunningGateway, *, stream: bool = False) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": f"hello {next(_numbers)}"}], "stream": stream}
    return await gateway.chat.post("/v1/chat/completions", json=body)


async def say_until_asked(gateway: RunningGateway, engine: ScriptedEngine, *, stream: bool = False) -> httpx.Response:
    """A new conversation after the other, until one asked that engine."""
    before = len(engine.requests)
    while True:
        answer = await say(gateway, stream=stream)
        if len(engine.requests) > before:
            return answer


def hedged(told: str) -> float:
    return next(float(line.split()[1]) for line in told.splitlines() if line.startswith("nock_hedged_requests_total "))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_says_nothing_is_overtaken_and_its_work_is_cancelled(
    gateway: RunningGateway,
    scripted_engine: ScriptedEngine,
    second_engine: ScriptedEngine,
    database: Database,
    stream: bool,
) -> None:
    before = hedged((await gateway.nobody.get("/metrics")).text)
    scripted_engine.fault = "hang"
    began = time.monotonic()
    answer = await say_until_asked(gateway, scripted_engine, stream=stream)
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n") if stream else "tiny heard hello" in answer.text
    assert 0.2 <= time.monotonic() - began < 10
    await eventually(lambda: scripted_engine.hung_up == 1)
    engines = gateway.app.state.gateway.pool.engines
    await eventually(lambda: [engine.in_flight for engine in engines] == [0, 0])
    assert hedged((await gateway.nobody.get("/metrics")).text) == before + 1
    async with database.transaction() as session:
        turns = await session.scalar(select(func.count()).select_from(models.Turn))
    assert turns == len(second_engine.requests)  # each once


async def test_the_first_is_heard_where_it_answers_before_the_second(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.pause, second_engine.pause = 0.6, 30.0
    scripted_engine.reply, second_engine.reply = "first", "second"
    asking = [asyncio.create_task(say(gateway)) for _ in range(4)]
    answers = await asyncio.wait_for(asyncio.gather(*asking), 15)
    assert {one.json()["choices"][0]["message"]["content"] for one in answers} == {"first"}
    await eventually(lambda: second_engine.hung_up == len(second_engine.requests))


async def test_without_a_second_engine_the_only_one_is_waited_for(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.6
    async with start_gateway(scripted_engine.url, engine=HEDGED) as gateway:
        assert (await say(gateway)).status_code == 200
    assert len(scripted_engine.requests) == 1


async def test_it_is_off_unless_it_is_asked_for(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = second_engine.pause = 1.0
    async with start_gateway(f"{scripted_engine.url},{second_engine.url}") as gateway:
        assert (await say(gateway)).status_code == 200
    assert len(scripted_engine.requests) + len(second_engine.requests) == 1


async def test_a_client_that_hangs_up_cancels_both(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = second_engine.fault = "hang"
    asking = asyncio.create_task(say(gateway))
    await eventually(lambda: len(scripted_engine.requests) + len(second_engine.requests) == 2)
    asking.cancel()
    await eventually(lambda: scripted_engine.hung_up + second_engine.hung_up == 2)

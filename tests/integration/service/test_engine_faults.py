"""Engines that fail in every way: what the client sees and within what time, with one engine and with several."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import count

import httpx
import pytest

from core.engine.circuit import FAILURES
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine, running_scripted_engine
from tests.fixtures.waiting import eventually

HASTY = {"engine_connect_seconds": 3.0, "engine_silence_seconds": 0.5, "engine_timeout_seconds": 20.0}
_numbers = count()


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> AsyncIterator[RunningGateway]:
    """In front of two engines."""
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, engine=HASTY, engine_check_seconds=0.05) as running:
        yield running


async def say(gateway: RunningGateway, *, stream: bool = False) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": f"hello {next(_numbers)}"}], "stream": stream}
    return await gateway.chat.post("/v1/chat/completions", json=body)


def asked(engine: ScriptedEngine) -> int:
    """Trials ask for a single token."""
    return sum(one.get("max_tokens") != 1 for one in engine.requests)


async def say_until_asked(gateway: RunningGateway, engine: ScriptedEngine, *, stream: bool) -> list[httpx.Response]:
    """New conversations, until one of them fell to that engine."""
    before, answers = asked(engine), []
    while asked(engine) == before:
        answers.append(await say(gateway, stream=stream))
    return answers


def events(answer: httpx.Response) -> list[str]:
    return [line for line in answer.text.splitlines() if line]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["fail", "garbage", "nonsense", "close", "full"])
async def test_one_engines_fault_before_the_first_chunk_is_anothers_request(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, fault: str, stream: bool
) -> None:
    scripted_engine.fault = fault
    answers = await say_until_asked(gateway, scripted_engine, stream=stream)
    assert {answer.status_code for answer in answers} == {200}
    if stream:
        assert {events(answer)[-1] for answer in answers} == {"data: [DONE]"}


@pytest.mark.parametrize("fault", ["fail", "garbage", "nonsense", "close"])
async def test_a_request_that_fails_twice_is_no_thirds_and_the_client_is_told(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, fault: str
) -> None:
    async with running_scripted_engine() as third:
        engines = (scripted_engine, second_engine, third)
        for engine in engines:
            engine.fault = fault
        async with start_gateway(",".join(engine.url for engine in engines), engine=HASTY) as gateway:
            answer = await say(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
        assert sum(map(asked, engines)) == 2


async def test_engines_that_are_full_are_passed_over_as_many_as_there_are(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    async with running_scripted_engine() as third:
        scripted_engine.fault = second_engine.fault = "full"
        urls = f"{scripted_engine.url},{second_engine.url},{third.url}"
        async with start_gateway(urls, engine=HASTY) as gateway:
            assert {(await say(gateway)).status_code for _ in range(6)} == {200}
            third.fault = "full"
            answer = await say(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_busy")
        assert "Retry-After" in answer.headers


async def test_a_stream_that_never_begins_is_begun_elsewhere_when_the_silence_is_too_long(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "hang"
    began = time.monotonic()
    answers = await say_until_asked(gateway, scripted_engine, stream=True)
    assert {answer.status_code for answer in answers} == {200}
    assert 0.5 < time.monotonic() - began < 5.0


async def test_a_whole_reply_is_asked_elsewhere_when_its_engine_answers_no_health_check_either(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = second_engine.pause = 30.0
    waiting = asyncio.create_task(say(gateway))
    await eventually(lambda: asked(scripted_engine) + asked(second_engine) > 0)
    dead, alive = scripted_engine, second_engine
    if not asked(scripted_engine):
        dead, alive = alive, dead
    dead.fault, alive.pause = "dead", 0.0
    began = time.monotonic()
    answer = await waiting
    assert answer.status_code == 200, answer.text
    assert 0.5 < time.monotonic() - began < 10.0
    assert dead.hung_up == 1, "what it may still be doing is of no use"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_reply_has_one_deadline_however_many_engines_are_tried(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, stream: bool
) -> None:
    limits = HASTY | {"engine_silence_seconds": 2.8, "engine_timeout_seconds": 3.0}
    scripted_engine.fault = second_engine.fault = "hang"
    async with start_gateway(f"{scripted_engine.url},{second_engine.url}", engine=limits) as gateway:
        began = time.monotonic()
        answer = await say(gateway, stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "engine_timeout")
        assert 2.9 < time.monotonic() - began < 5.5, "two silences, or two deadlines, would take longer"


@pytest.mark.parametrize("fault", ["cut", "mute"])
async def test_a_stream_that_has_begun_is_never_begun_again(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, fault: str
) -> None:
    scripted_engine.fault = second_engine.fault = fault
    began = time.monotonic()
    answer = await say(gateway, stream=True)
    last = json.loads(events(answer)[-1].removeprefix("data: "))
    assert last["error"]["code"] == {"cut": "engine_failed", "mute": "engine_silent"}[fault]
    assert time.monotonic() - began < 3.0
    assert asked(scripted_engine) + asked(second_engine) == 1
    found = (await gateway.chat.get(f"/conversations/{answer.headers['X-Conversation-Id']}")).json()
    assert [turn["finish_reason"] for turn in found["turns"]] == ["truncated"]


async def test_a_clients_own_error_is_asked_of_no_other_engine_and_held_against_none(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = second_engine.fault = "refuse"
    for _ in range(2 * FAILURES):
        assert (await say(gateway)).status_code == 400
    assert asked(scripted_engine) + asked(second_engine) == 2 * FAILURES
    assert failing(gateway) == [False, False]


def failing(gateway: RunningGateway) -> list[bool]:
    """Of each engine, whether its circuit is open."""
    return [engine.circuit.is_open for engine in gateway.app.state.gateway.pool.engines]


def away(gateway: RunningGateway) -> list[bool]:
    return [engine.models is None for engine in gateway.app.state.gateway.pool.engines]


async def test_an_engine_that_keeps_failing_is_left_out_until_a_trial_of_ours_succeeds(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "fail"
    answers = [await say(gateway) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {200}
    assert asked(scripted_engine) == FAILURES
    assert failing(gateway) == [True, False]
    scripted_engine.fault = None
    await eventually(lambda: not any(failing(gateway)))
    assert asked(scripted_engine) == FAILURES, "no client's request was the trial"
    await say_until_asked(gateway, scripted_engine, stream=False)


async def test_where_all_keep_failing_clients_are_answered_as_soon_as_one_can(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = second_engine.fault = "fail"
    while not all(failing(gateway)):
        assert (await say(gateway)).status_code == 502
    assert (await say(gateway)).status_code == 502
    scripted_engine.fault = second_engine.fault = None
    assert (await say(gateway)).status_code == 200


async def test_an_engine_that_answers_its_health_check_slowly_delays_no_look_at_another(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    limits = HASTY | {"engine_connect_seconds": 60.0}
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, engine=limits, engine_check_seconds=0.05) as gateway:
        scripted_engine.fault = "dead"
        await asyncio.sleep(0.2)  # now somebody waits for its answer
        second_engine.fault = "away"
        await eventually(lambda: away(gateway)[1])
        second_engine.fault = None
        await eventually(lambda: not away(gateway)[1])

"""Several engines of one base model: each version is asked of those that hold it, whatever happens to the others."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from core.engine.pool import EnginePool, open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine


@pytest.fixture(autouse=True)
async def agent(database: Database, tmp_path: Path) -> models.Agent:
    """An agent with one candidate."""
    agent = await create_agent(database, "demo")
    await register(database, agent, tmp_path / "v1")
    return agent


@pytest.fixture
def first(scripted_engine: ScriptedEngine) -> ScriptedEngine:
    return scripted_engine


@pytest.fixture
def second(second_engine: ScriptedEngine) -> ScriptedEngine:
    return second_engine


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, first: ScriptedEngine, second: ScriptedEngine
) -> AsyncIterator[RunningGateway]:
    patience = {"engine_connect_seconds": 30.0}  # an engine that a busy machine holds up is not away
    async with start_gateway(f"{first.url},{second.url}", engine=patience, engine_check_seconds=0.05) as running:
        yield running


@pytest.fixture
async def pool(first: ScriptedEngine, second: ScriptedEngine) -> AsyncIterator[EnginePool]:
    """What the worker that reconciles sees."""
    settings = EngineSettings(engine_urls=f"{first.url},{second.url}", engine_timeout_seconds=0.5)
    async with open_pool(settings) as opened:
        yield opened


async def promote(gateway: RunningGateway, adapter: str = "demo@v1") -> httpx.Response:
    return await gateway.admin.post(f"/admin/adapters/{adapter}/promote", json={"reason": "better", "force": True})


async def evidence(gateway: RunningGateway) -> list[dict[str, Any]]:
    events = (await gateway.admin.get("/admin/agents/demo/rollout/events")).json()["data"]
    probes: list[dict[str, Any]] = events[-1]["evidence"]["probes"]
    return probes


async def chat(gateway: RunningGateway, conversation: str | None = None, says: str = "hello") -> str:
    """The version that answered, which must be the one that the client is told."""
    body = {"model": "demo", "messages": [{"role": "user", "content": says}]}
    headers = {"X-Conversation-Id": conversation} if conversation else {}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    adapter = answer.headers["X-Adapter"]
    speaker = "tiny" if adapter == "demo@base" else adapter
    assert answer.json()["choices"][0]["message"]["content"] == f"{speaker} heard {says}"
    return adapter


def asked(engine: ScriptedEngine, model: str = "demo@v1") -> int:
    """How often people asked the engine for that model; probes ask for a single token."""
    return sum(one["model"] == model and one.get("max_tokens") != 1 for one in engine.requests)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("unloadable", "The engine failed (status 500)."),
        ("fail", "demo@v1 was loaded but does not answer: The engine failed (status 500)."),
        ("away", "It does not answer."),
        ("lies", "demo@v1 answers exactly as the base model does."),
    ],
)
async def test_an_engine_that_cannot_serve_a_version_stops_no_promotion_and_is_never_asked_for_it(
    gateway: RunningGateway, first: ScriptedEngine, second: ScriptedEngine, fault: str, why: str
) -> None:
    second.lies, second.fault = fault == "lies", None if fault == "lies" else fault
    assert (await promote(gateway)).status_code == 200
    seen = {probe["engine"]: probe for probe in await evidence(gateway)}
    assert seen[first.url]["largest_logprob_change"] > 0
    assert seen[second.url]["failed"] == why
    second.fault = None
    await asyncio.sleep(0.2)  # it is healthy again, and the gateway has looked
    assert {await chat(gateway) for _ in range(6)} == {"demo@v1"}
    assert (asked(first), asked(second)) == (6, 0)


async def test_an_engine_that_lacks_a_version_gets_it_from_the_reconciler_and_is_then_asked(
    gateway: RunningGateway, database: Database, pool: EnginePool, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    second.fault = "unloadable"
    await promote(gateway)
    await reconciling.reconcile(database, pool)
    assert second.adapters == {}
    second.fault = None
    await reconciling.reconcile(database, pool)
    assert list(second.adapters) == ["demo@v1"]
    await asyncio.sleep(0.2)
    first.fault = "full"
    assert await chat(gateway) == "demo@v1"
    assert asked(second) == 1


async def test_a_version_that_fails_on_every_engine_is_refused_and_holds_no_place(
    gateway: RunningGateway, database: Database, first: ScriptedEngine, second: ScriptedEngine, pool: EnginePool
) -> None:
    first.lies, second.fault = True, "unloadable"
    answer = await promote(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "probe_failed")
    assert first.adapters == second.adapters == {}
    assert await chat(gateway) == "demo@base"
    first.lies, second.fault = False, None
    await reconciling.reconcile(database, pool)
    assert first.adapters == second.adapters == {}


async def test_a_restarted_engine_is_asked_for_the_base_model_alone_until_its_versions_are_back(
    gateway: RunningGateway, database: Database, pool: EnginePool, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    assert await chat(gateway, "old") == "demo@base"
    await promote(gateway)
    second.adapters.clear()
    await asyncio.sleep(0.2)
    assert {await chat(gateway) for _ in range(6)} == {"demo@v1"}
    assert (asked(first), asked(second)) == (6, 0)
    first.fault = "full"
    assert await chat(gateway, "old") == "demo@base"
    assert asked(second, "tiny") >= 1
    first.fault = None
    await reconciling.reconcile(database, pool)
    assert list(second.adapters) == ["demo@v1"]
    await asyncio.sleep(0.2)
    first.fault = "full"
    assert await chat(gateway) == "demo@v1"


async def test_an_engine_that_lies_after_its_restart_is_not_asked(
    gateway: RunningGateway, database: Database, pool: EnginePool, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    await promote(gateway)
    second.adapters.clear()
    second.lies = True
    await reconciling.reconcile(database, pool)
    await asyncio.sleep(0.2)
    assert {await chat(gateway) for _ in range(6)} == {"demo@v1"}
    assert (asked(first), asked(second)) == (6, 0)


async def test_a_request_that_finds_its_engine_restarted_goes_to_another_unnoticed(
    start_gateway: StartGateway, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    async with start_gateway(f"{first.url},{second.url}", engine_check_seconds=60) as gateway:
        await promote(gateway)
        assert await chat(gateway, "ours") == "demo@v1"
        home, other = (first, second) if asked(first) else (second, first)
        home.adapters.clear()  # and the gateway has not looked since
        assert {await chat(gateway, "ours", f"hello {number}") for number in range(4)} == {"demo@v1"}
    assert home.adapters == {}
    assert (asked(home), asked(other)) == (2, 4)


async def test_where_every_engine_has_lost_a_version_one_is_given_it_once_for_all_who_wait(
    gateway: RunningGateway, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    await promote(gateway)
    loads = first.loads + second.loads
    first.adapters.clear()
    second.adapters.clear()
    assert set(await asyncio.gather(*(chat(gateway) for _ in range(8)))) == {"demo@v1"}
    assert first.loads + second.loads - loads <= 2


async def test_what_it_takes_to_bring_a_version_in_is_part_of_the_replys_time(
    start_gateway: StartGateway, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    limits = {"engine_timeout_seconds": 1.0, "engine_load_seconds": 30.0}
    async with start_gateway(f"{first.url},{second.url}", engine=limits) as gateway:
        await promote(gateway)
        first.adapters.clear()
        second.adapters.clear()
        first.fault = second.fault = "loads for ever"
        body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
        for stream in (False, True):
            began = time.monotonic()
            answer = await gateway.chat.post("/v1/chat/completions", json=body | {"stream": stream})
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "engine_timeout")
            assert 0.9 < time.monotonic() - began < 5.0


async def test_a_rollback_asks_no_engine(
    gateway: RunningGateway, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    promoted = await promote(gateway)
    assert promoted.status_code == 200, promoted.text
    before = [len(first.requests), first.loads, len(second.requests), second.loads]
    first.fault = second.fault = "hang"
    answer = await gateway.admin.post("/admin/agents/demo/rollback", json={"reason": "worse"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["stable"] == "demo@base"
    assert [len(first.requests), first.loads, len(second.requests), second.loads] == before


async def test_a_stream_outlives_the_rejection_of_its_version_which_is_unloaded_after(
    gateway: RunningGateway, database: Database, first: ScriptedEngine, second: ScriptedEngine
) -> None:
    promoted = await promote(gateway)
    assert promoted.status_code == 200, promoted.text
    first.pause = second.pause = 0.05
    body = {"model": "demo", "messages": [{"role": "user", "content": "tell me a story"}], "stream": True}
    settings = EngineSettings(
        engine_urls=f"{first.url},{second.url}", engine_timeout_seconds=60, engine_connect_seconds=30
    )
    async with open_pool(settings) as pool, gateway.chat.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        rejected = await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude", "open": "cut"})
        assert rejected.status_code == 200, rejected.text
        await reconciling.reconcile(database, pool)
        assert list(first.adapters) == list(second.adapters) == ["demo@v1"]
        rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        async with database.transaction() as session:  # as if it had been a while ago
            await session.execute(update(models.Episode).values(ended_at=models.Episode.started_at))
        pool.reply_seconds = 0.0
        await reconciling.reconcile(database, pool)
        assert first.adapters == second.adapters == {}

"""A gateway and a reconciler whose engines are listed in a file that changes while they run."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core.engine.pool import open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories.residency import VANISHED_SECONDS
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually


@pytest.fixture(autouse=True)
async def agent(database: Database, tmp_path: Path) -> models.Agent:
    agent = await create_agent(database, "demo")
    await register(database, agent, tmp_path / "v1")
    return agent


async def chat(gateway: RunningGateway) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"]


def asked(engine: ScriptedEngine, model: str) -> int:
    return sum(one["model"] == model and one.get("max_tokens") != 1 for one in engine.requests)


async def known(database: Database) -> set[str]:
    async with database.transaction() as session:
        return set(await session.scalars(select(models.EngineResidency.engine_url)))


async def test_a_new_engine_is_asked_for_a_version_once_it_has_proved_it_and_a_gone_one_is_forgotten_in_time(
    start_gateway: StartGateway,
    database: Database,
    scripted_engine: ScriptedEngine,
    second_engine: ScriptedEngine,
    tmp_path: Path,
) -> None:
    path = tmp_path / "engines.txt"
    path.write_text(scripted_engine.url)
    settings = EngineSettings(engine_urls=f"file://{path}")
    async with start_gateway(f"file://{path}", engine_check_seconds=0.05) as gateway:
        pool = gateway.app.state.gateway.pool
        answer = await gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "better", "force": True})
        assert answer.status_code == 200
        assert await chat(gateway) == "demo@v1"

        path.write_text(f"{scripted_engine.url}\n{second_engine.url}\n")
        await eventually(lambda: len(pool.healthy) == 2)
        assert {await chat(gateway) for _ in range(8)} == {"demo@v1"}
        assert asked(second_engine, "demo@v1") == 0, "nobody has proved it there"

        async with open_pool(settings) as reconcilers:
            await reconciling.reconcile(database, reconcilers)
        path.write_text(second_engine.url)
        await eventually(lambda: [engine.url for engine in pool.healthy] == [second_engine.url])
        before = asked(scripted_engine, "demo@v1")
        await eventually(lambda: pool.engines[0].lists("demo@v1"))
        assert {await chat(gateway) for _ in range(4)} == {"demo@v1"}
        assert (asked(scripted_engine, "demo@v1"), asked(second_engine, "demo@v1")) == (before, 4)

    async with open_pool(settings) as reconcilers:
        await reconciling.reconcile(database, reconcilers)
        assert await known(database) == {scripted_engine.url, second_engine.url}, "it may come back"
        long_ago = func.clock_timestamp() - timedelta(seconds=VANISHED_SECONDS + 60)
        async with database.transaction() as session:
            await session.execute(update(models.EngineResidency).values(seen_at=long_ago, wanted_until=None))
        await reconciling.reconcile(database, reconcilers)
        assert await known(database) == {second_engine.url}


async def test_an_engine_that_is_gone_has_no_series_any_more(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, tmp_path: Path
) -> None:
    path = tmp_path / "engines.txt"
    path.write_text(f"{scripted_engine.url}\n{second_engine.url}\n")
    async with start_gateway(f"file://{path}", engine_check_seconds=0.05) as gateway:
        pool = gateway.app.state.gateway.pool
        assert await told_engines(gateway) == {scripted_engine.url, second_engine.url}
        path.write_text(second_engine.url)
        await eventually(lambda: len(pool.engines) == 1)
        assert await told_engines(gateway) == {second_engine.url}
        path.write_text(scripted_engine.url)
        await eventually(lambda: [engine.url for engine in pool.engines] == [scripted_engine.url])
        assert await told_engines(gateway) == {scripted_engine.url}, "it came back"


async def told_engines(gateway: RunningGateway) -> set[str]:
    told = (await gateway.nobody.get("/metrics")).text
    return {f"http://{address}" for address in re.findall(r'engine="([^"]+)"', told)}

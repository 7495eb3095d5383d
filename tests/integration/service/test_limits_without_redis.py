"""When Redis is away: chat goes on or is refused, as configured, and waits for nobody."""

import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from core.domain.limits import Limits
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.limits.own_redis import OwnRedis, own_redis
from tests.fixtures.scripted_engine import ScriptedEngine

SAY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], "store": False}
PATH = "/v1/chat/completions"
FAST_SECONDS = 2.0
"""The machine may be busy; a request that waited for Redis would take for ever."""


@pytest.fixture
def redis(state_folder: Path) -> Iterator[OwnRedis]:
    with own_redis(state_folder) as running:
        yield running


@pytest.fixture
async def secret(database: Database) -> str:
    await create_agent(database)
    return (await create_key(database, limits=Limits(requests_per_minute=1000, concurrent_requests=5)))[0]


def start(
    start_gateway: StartGateway, engine: ScriptedEngine, redis_url: str | None, policy: str
) -> AbstractAsyncContextManager[RunningGateway]:
    return start_gateway(engine.url, redis_url=redis_url, limits_without_redis=policy)


async def timed(holder: httpx.AsyncClient) -> httpx.Response:
    began = time.monotonic()
    answer = await holder.post(PATH, json=SAY)
    assert time.monotonic() - began < FAST_SECONDS
    return answer


@pytest.mark.parametrize("policy", ["open", "closed"])
@pytest.mark.parametrize("how", ["killed", "hanging", "unset"])
async def test_without_redis_the_policy_decides_at_once(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, redis: OwnRedis, secret: str, how: str, policy: str
) -> None:
    url = None if how == "unset" else redis.url
    async with start(start_gateway, scripted_engine, url, policy) as gateway, client(gateway.url, secret) as holder:
        if how == "killed":
            redis.kill()
        if how == "hanging":
            redis.hang()
        for _ in range(3):
            answer = await timed(holder)
            if policy == "open":
                assert answer.status_code == 200
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "limits_unavailable")
                assert int(answer.headers["Retry-After"]) >= 1
        assert (await gateway.chat.post(PATH, json=SAY)).status_code == 200, "a key without limits asks nobody"


async def test_limits_hold_again_once_redis_is_back(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, redis: OwnRedis, secret: str
) -> None:
    async with (
        start(start_gateway, scripted_engine, redis.url, "closed") as gateway,
        client(gateway.url, secret) as holder,
    ):
        redis.hang()
        assert (await timed(holder)).status_code == 503
        redis.go_on()
        await comes_back(holder)
        redis.kill()
        assert (await timed(holder)).status_code == 503
        redis.start()
        await comes_back(holder)


async def comes_back(holder: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 10
    while (answer := await timed(holder)).status_code != 200:
        assert time.monotonic() < deadline
    assert "x-ratelimit-remaining-requests" in answer.headers


async def test_an_outage_is_counted_and_said_once(
    start_gateway: StartGateway,
    scripted_engine: ScriptedEngine,
    redis: OwnRedis,
    secret: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        start(start_gateway, scripted_engine, redis.url, "open") as gateway,
        client(gateway.url, secret) as holder,
    ):
        redis.kill()
        before = await unavailable(gateway)
        for _ in range(3):
            await timed(holder)
        assert await unavailable(gateway) >= before + 3
        assert sum("limits cannot be counted" in record.getMessage() for record in caplog.records) == 1


async def unavailable(gateway: RunningGateway) -> float:
    lines = (await gateway.nobody.get("/metrics")).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("nock_limits_unavailable_total ")))

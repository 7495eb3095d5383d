"""Limits of keys and of end users, as clients meet them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from core.domain.keys import Scope
from core.domain.limits import Limits
from core.storage.database import Database
from tests.fixtures.builders import create_agent, create_key
from tests.fixtures.gateway import RunningGateway, StartGateway, client
from tests.fixtures.limits.gateways import counting_gateway
from tests.fixtures.scripted_engine import ScriptedEngine

SAY = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database)


@pytest.fixture
async def counting(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, redis_url: str
) -> AsyncIterator[RunningGateway]:
    async with counting_gateway(start_gateway, scripted_engine.url, redis_url) as running:
        yield running


@pytest.fixture
async def holders() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def limited(
    holders: AsyncExitStack, database: Database, gateway: RunningGateway, *scopes: Scope, **limits: int
) -> httpx.AsyncClient:
    """A client whose key has these limits."""
    secret, _ = await create_key(database, *scopes, limits=Limits(**limits))
    return await holders.enter_async_context(client(gateway.url, secret))


async def say(holder: httpx.AsyncClient, **more: Any) -> httpx.Response:
    """A request that nobody made before: `store: false` counts like any other."""
    return await holder.post(PATH, json=SAY | {"store": False} | more)


async def test_a_request_over_the_limit_is_refused_as_openai_would_and_costs_nothing(
    counting: RunningGateway, holders: AsyncExitStack, database: Database, scripted_engine: ScriptedEngine
) -> None:
    holder = await limited(holders, database, counting, requests_per_minute=2)
    answers = [
        await holder.post(PATH, json=SAY | {"messages": [{"role": "user", "content": str(n)}]}) for n in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    refused = answers[2]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "requests"
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert 50 < int(refused.headers["Retry-After"]) <= 60
    assert len(scripted_engine.requests) == 2
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM conversations")) == 2
    plain = await holder.post("/chat", json={"agent": "demo", "message": "hi"})
    assert (plain.status_code, plain.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (
        'nock_limited_requests_total{agent="demo",limit="key_requests_per_minute"}'
        in (await counting.nobody.get("/metrics")).text
    )


async def test_the_description_has_the_headers_that_say_what_is_left_and_when_to_come_back(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    holder = await limited(holders, database, counting, requests_per_minute=1, tokens_per_day=1000)
    for asked in ((PATH, SAY), (PATH, SAY), ("/chat", {"agent": "demo", "message": "hi"})):
        path, body = asked
        answer = await holder.post(path, json=body)
        said = counting.app.openapi()["paths"][path]["post"]["responses"][str(answer.status_code)]["headers"]
        told = {name for name in answer.headers if name.startswith("x-ratelimit") or name == "retry-after"}
        assert told
        assert told <= {name.lower() for name in said}


async def test_who_waits_as_long_as_told_is_let_in(
    start_gateway: StartGateway,
    holders: AsyncExitStack,
    database: Database,
    scripted_engine: ScriptedEngine,
    redis_url: str,
) -> None:
    async with counting_gateway(start_gateway, scripted_engine.url, redis_url, minute_seconds=2.0) as gateway:
        holder = await limited(holders, database, gateway, requests_per_minute=2)
        for _ in range(2):
            assert [(await say(holder)).status_code for _ in range(2)] == [200, 200]
            refused = await say(holder)
            assert refused.status_code == 429
            await asyncio.sleep(int(refused.headers["Retry-After"]))


async def test_two_gateways_count_together(
    counting: RunningGateway,
    start_gateway: StartGateway,
    holders: AsyncExitStack,
    database: Database,
    scripted_engine: ScriptedEngine,
    redis_url: str,
) -> None:
    secret, _ = await create_key(database, limits=Limits(requests_per_minute=7))
    async with (
        counting_gateway(start_gateway, scripted_engine.url, redis_url) as second,
        client(counting.url, secret) as here,
        client(second.url, secret) as there,
    ):
        answers = await asyncio.gather(*(say(holder) for holder in [here, there] * 10))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 13


async def test_each_end_user_has_limits_of_their_own_and_the_unnamed_share_their_keys(
    counting: RunningGateway, redis_url: str
) -> None:
    changed = await counting.admin.patch("/admin/agents/demo", json={"limits": {"requests_per_minute": 1}})
    assert changed.json()["limits"] == {"requests_per_minute": 1}
    statuses = [
        (await say(counting.chat, **named)).status_code
        for named in ({"user": "Ann Lee"}, {"user": "Ann Lee"}, {"user": "Bo"}, {}, {}, {"metadata": {"user": "Bo"}})
    ]
    assert statuses == [200, 429, 200, 200, 429, 429]
    said = await counting.chat.post("/chat", json={"agent": "demo", "message": "hi", "user": "Ann Lee"})
    assert said.status_code == 429
    async with Redis.from_url(redis_url.replace("redis+socket", "unix"), decode_responses=True) as redis:
        assert not [key for key in await redis.keys() if "Ann" in key]


async def test_tokens_count_when_a_turn_has_ended(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    holder = await limited(holders, database, counting, tokens_per_minute=1000)
    first = await say(holder)
    spent = first.json()["usage"]["total_tokens"]
    second = await say(holder)
    assert first.headers["x-ratelimit-remaining-tokens"] == "1000"
    assert second.headers["x-ratelimit-remaining-tokens"] == str(1000 - spent)
    while (answer := await say(holder, messages=[{"role": "user", "content": "x" * 300}])).status_code == 200:
        pass
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "tokens")
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"


async def test_a_repeated_turn_is_a_request_without_tokens(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    holder = await limited(holders, database, counting, requests_per_minute=10, tokens_per_minute=1000)
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
        {"role": "user", "content": "?"},
    ]
    answers = [await holder.post(PATH, json=SAY | {"messages": history}) for _ in range(3)]
    assert len({answer.headers["X-Turn-Id"] for answer in answers}) == 1
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["9", "8", "7"]
    assert answers[1].headers["x-ratelimit-remaining-tokens"] == answers[2].headers["x-ratelimit-remaining-tokens"]


async def test_a_spent_budget_ends_the_day_and_says_not_to_retry(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    holder = await limited(holders, database, counting, tokens_per_day=10)
    assert (await say(holder)).status_code == 200
    refused = await say(holder)
    assert refused.status_code == 429
    assert (refused.json()["error"]["code"], refused.json()["error"]["type"]) == ("insufficient_quota",) * 2
    left = 86_400 - time.time() % 86_400
    assert int(refused.headers["Retry-After"]) == pytest.approx(left, abs=30)
    assert left < 100 or refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_place_is_free_again_before_the_client_knows_that_its_turn_is_over(
    counting: RunningGateway, holders: AsyncExitStack, database: Database, stream: bool
) -> None:
    holder = await limited(holders, database, counting, concurrent_requests=1)
    for _ in range(5):
        assert (await say(holder, stream=stream)).status_code == 200


@pytest.mark.parametrize("fault", ["refuse", "fail", "garbage", "away", "cut"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_fails_gives_its_place_back(
    counting: RunningGateway,
    holders: AsyncExitStack,
    database: Database,
    scripted_engine: ScriptedEngine,
    fault: str,
    stream: bool,
) -> None:
    holder = await limited(holders, database, counting, concurrent_requests=1)
    scripted_engine.fault = fault
    for _ in range(2):
        assert (await say(holder, stream=stream)).status_code in (200, 400, 502, 503)


async def test_who_asks_too_much_at_once_is_refused_until_a_place_is_free(
    counting: RunningGateway, holders: AsyncExitStack, database: Database, scripted_engine: ScriptedEngine
) -> None:
    holder = await limited(holders, database, counting, concurrent_requests=1)
    scripted_engine.pause, scripted_engine.reply = 0.2, "a long reply"
    async with holder.stream("POST", PATH, json=SAY | {"stream": True, "store": False}) as open_stream:
        assert open_stream.status_code == 200
        refused = await say(holder)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        await anext(open_stream.aiter_bytes())  # and hangs up
    scripted_engine.pause = 0.0
    deadline = time.monotonic() + 5
    while (answer := await say(holder)).status_code == 429:
        assert time.monotonic() < deadline
    assert answer.status_code == 200


async def test_what_a_broken_stream_has_cost_is_counted(
    counting: RunningGateway, holders: AsyncExitStack, database: Database, scripted_engine: ScriptedEngine
) -> None:
    holder = await limited(holders, database, counting, tokens_per_minute=100_000)
    scripted_engine.fault = "cut"
    await say(holder, stream=True)
    scripted_engine.fault = None
    assert int((await say(holder)).headers["x-ratelimit-remaining-tokens"]) < 100_000


async def test_outcomes_count_as_requests_and_a_batch_by_its_entries(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    holder = await limited(holders, database, counting, Scope.FEEDBACK, requests_per_minute=5)
    entry = {"turn_id": "turn_unknown", "value": 1}
    assert (await holder.post("/feedback", json=entry)).status_code == 404
    assert (await holder.post("/feedback/batch", json={"entries": [entry] * 3})).status_code == 200
    assert (await holder.post("/feedback/batch", json={"entries": [entry] * 2})).status_code == 429
    assert (await holder.post("/feedback", json=entry)).status_code == 404
    refused = await holder.post("/feedback", json=entry)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    told = (await counting.nobody.get("/metrics")).text
    assert 'nock_limited_requests_total{agent="other",limit="key_requests_per_minute"}' in told
    never = await holder.post("/feedback/batch", json={"entries": [entry] * 6})
    assert (never.status_code, never.json()["error"]["code"]) == (422, "batch_over_limit")
    async with database.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM dead_letters")) == 5


async def test_limits_are_set_shown_changed_and_lifted_while_a_key_is_in_use(
    counting: RunningGateway, holders: AsyncExitStack, database: Database
) -> None:
    made = (
        await counting.admin.post("/admin/keys", json={"scopes": ["chat"], "limits": {"requests_per_minute": 1}})
    ).json()
    assert made["limits"] == {"requests_per_minute": 1}
    holder = await holders.enter_async_context(client(counting.url, made["secret"]))
    assert [(await say(holder)).status_code for _ in range(2)] == [200, 429]
    path = f"/admin/keys/{made['key_id']}"
    assert (await counting.admin.patch(path, json={"limits": {"requests_per_minute": 2}})).status_code == 200
    assert [(await say(holder)).status_code for _ in range(2)] == [200, 429]
    lifted = await counting.admin.patch(path, json={"limits": None})
    assert lifted.json()["limits"] == {}
    assert (await say(holder)).status_code == 200


async def test_an_agents_limits_are_set_shown_and_lifted(counting: RunningGateway) -> None:
    for limits in ({"concurrent_requests": 3, "tokens_per_day": 9}, {}):
        changed = await counting.admin.patch("/admin/agents/demo", json={"limits": limits})
        assert changed.json()["limits"] == limits


@pytest.mark.parametrize("limits", [{"requests_per_minute": 0}, {"requests_per_hour": 5}, {"tokens_per_day": 1.5}])
async def test_a_limit_that_makes_no_sense_is_refused_with_its_name(
    counting: RunningGateway, limits: dict[str, float]
) -> None:
    answer = await counting.admin.post("/admin/keys", json={"scopes": ["chat"], "limits": limits})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == f"limits.{next(iter(limits))}"

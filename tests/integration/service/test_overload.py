"""More than can be done: it is refused at once and says when to come again; nobody waits in a queue without end."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import event

from core.domain import ids
from core.domain.feedback_tokens import issue
from core.domain.signatures import Signer
from core.storage import database as storage
from core.storage.database import Database
from service import kept_answer
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import SECRET, RunningGateway, StartGateway
from tests.fixtures.raw_http import RawClient, head
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

BODY = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def say(gateway: RunningGateway) -> httpx.Response:
    return await gateway.chat.post("/v1/chat/completions", json=BODY)


def code(answer: httpx.Response) -> str:
    return "ok" if answer.status_code == 200 else answer.json()["error"]["code"]


async def test_an_engine_gets_no_more_at_once_than_it_may_and_the_rest_is_told_to_come_again(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 60.0
    async with start_gateway(scripted_engine.url, engine={"engine_concurrency": 2}) as gateway:
        two = [asyncio.create_task(say(gateway)) for _ in range(2)]
        await eventually(lambda: len(scripted_engine.requests) == 2)
        began = time.monotonic()
        refused = await asyncio.gather(*(say(gateway) for _ in range(5)))
        assert time.monotonic() - began < 5.0
        assert {(answer.status_code, code(answer)) for answer in refused} == {(503, "overloaded")}
        assert all("Retry-After" in answer.headers for answer in refused)
        assert len(scripted_engine.requests) == 2
        for one in two:
            one.cancel()
        await eventually(lambda: scripted_engine.hung_up == 2)
        scripted_engine.pause = 0.0
        assert code(await say(gateway)) == "ok", "who went made room"


async def test_an_engine_that_is_full_by_our_count_is_passed_over_for_one_that_is_not(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, second_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = second_engine.pause = 1.0
    urls = f"{scripted_engine.url},{second_engine.url}"
    async with start_gateway(urls, engine={"engine_concurrency": 3}) as gateway:
        answers = await asyncio.gather(*(say(gateway) for _ in range(8)))
    assert Counter(map(code, answers)) == {"ok": 6, "overloaded": 2}
    assert (len(scripted_engine.requests), len(second_engine.requests)) == (3, 3)


async def test_a_gateway_works_on_no_more_requests_than_it_may_and_still_says_how_it_is(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 60.0
    async with start_gateway(scripted_engine.url, most_requests=3) as gateway:
        three = [asyncio.create_task(say(gateway)) for _ in range(3)]
        await eventually(lambda: len(scripted_engine.requests) == 3)
        for refused in (await say(gateway), await gateway.feedback.post("/feedback", json={})):
            assert (refused.status_code, code(refused)) == (503, "overloaded")
            assert "Retry-After" in refused.headers
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await gateway.nobody.get(path)).status_code == 200
        for one in three:
            one.cancel()
        await eventually(lambda: gateway.app.state.capacity.under_way == 0)
        scripted_engine.pause = 0.0
        assert code(await say(gateway)) == "ok"


async def begin_a_body(gateway: RunningGateway, secret: str, path: str) -> RawClient:
    client = await RawClient.connect(gateway.url)
    await client.send([head(secret, 1000, target=path) + b"{"])
    return client


@pytest.mark.parametrize("path", ["/chat", "/feedback", "/feedback/batch", "/admin/agents", "/admin/keys"])
async def test_who_has_no_key_holds_no_place_with_a_body(gateway: RunningGateway, path: str) -> None:
    for secret in ("", "nk_guessed", "nkf_guessed"):
        client = await begin_a_body(gateway, secret, path)
        assert (await client.read(until=b"}}")).startswith(b"HTTP/1.1 401 ")
        assert gateway.app.state.capacity.under_way == 0
        client.cut()


async def test_a_feedback_token_holds_a_place_where_tokens_are_taken_and_nowhere_else(gateway: RunningGateway) -> None:
    token = issue(Signer(SECRET), ids.new_id(), "reward", datetime.now(UTC))
    elsewhere = await begin_a_body(gateway, token, "/feedback/batch")
    assert (await elsewhere.read(until=b"}}")).startswith(b"HTTP/1.1 401 ")
    waited_for = await begin_a_body(gateway, token, "/feedback")
    await eventually(lambda: gateway.app.state.capacity.under_way == 1)
    assert await waited_for.read(seconds=0.5) == b""
    for each in (elsewhere, waited_for):
        each.cut()


async def test_however_many_ask_for_health_and_metrics_postgres_is_asked_once_for_all(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_answer, "KEPT_SECONDS", 600.0)
    async with start_gateway(scripted_engine.url, routing_poll_seconds=600) as gateway:
        said: Counter[str] = Counter()
        engine = gateway.app.state.gateway.database.bind.sync_engine
        event.listen(engine, "before_cursor_execute", lambda _connection, _cursor, what, *_: said.update([what]))
        asked = [gateway.nobody.get(path) for path in ("/readyz", "/metrics") for _ in range(30)]
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert said.most_common(1)[0][1] == 1


async def test_who_finds_no_connection_to_the_database_is_told_so_before_long(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "POOL_SECONDS", 0.3)
    async with start_gateway(scripted_engine.url, routing_poll_seconds=600) as gateway:
        pool = gateway.app.state.gateway.database.bind
        await gateway.chat.get("/v1/models")  # the key is known from here on
        held = [await pool.connect() for _ in range(20)]
        began = time.monotonic()
        answer = await gateway.chat.get("/conversations/order")
        assert (answer.status_code, code(answer)) == (503, "database_unavailable")
        assert "Retry-After" in answer.headers
        assert time.monotonic() - began < 5.0
        assert code(await say(gateway)) == "ok"  # turns have connections of their own
        for connection in held:
            await connection.close()
        assert (await gateway.chat.get("/conversations/order")).status_code == 404

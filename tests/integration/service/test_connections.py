"""A connection's bounds: whoever sends too much, too slowly, or reads nothing holds no place for long."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from core.storage.database import Database
from service.connections import BoundedConnection
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.raw_http import PATH, RawClient, body, head, request, server_sides
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[RawClient]:
    connected = await RawClient.connect(gateway.url)
    yield connected
    connected.cut()


@pytest.mark.parametrize("pieces", [1, 500], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "large",
    [b"X-Large: " + b"x" * 70_000, b"\r\n".join(b"X-%d: y" % number for number in range(9_000))],
    ids=["one", "thousands"],
)
async def test_headers_of_more_than_64_kib_are_refused(
    gateway: RunningGateway, client: RawClient, scripted_engine: ScriptedEngine, large: bytes, pieces: int
) -> None:
    sent = request(gateway.keys.chat, "hello", large)
    step = -(-len(sent) // pieces)
    await client.send(sent[start : start + step] for start in range(0, len(sent), step))
    heard = await client.read()
    assert heard == b"" or heard.startswith(b"HTTP/1.1 400 "), "who still sends may meet a closed door"
    assert scripted_engine.requests == []


@pytest.mark.parametrize("path", [PATH, "/chat"])
@pytest.mark.parametrize(
    ("more", "told"), [(b"X-Large: " + b"x" * 66_000, "too large"), (b"no header", "Invalid")], ids=["large", "no HTTP"]
)
async def test_a_head_that_cannot_be_read_is_refused_in_the_shape_of_its_path(
    gateway: RunningGateway, client: RawClient, path: str, more: bytes, told: str
) -> None:
    sent = head(gateway.keys.chat, 0, more, target=path)
    await client.send([sent[:60_000], sent[60_000:]])  # none is left to arrive when the door closes
    said, _, content = (await client.read()).partition(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in said
    error = json.loads(content)["error"]
    assert error.keys() == {"code", "message", "param"} | ({"type"} if path == PATH else set())
    assert told in error["message"]


async def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    gateway: RunningGateway, client: RawClient
) -> None:
    before = server_sides(gateway.url)
    await client.send([f"POST {PATH} HTTP/1.1\r\nX: ".encode(), *([b"x" * 4096] * 17)])
    await client.read()
    assert server_sides(gateway.url) < before


async def test_sixty_kib_of_headers_are_read(gateway: RunningGateway, client: RawClient) -> None:
    await client.send([request(gateway.keys.chat, "hello", b"X-Large: " + b"x" * 60_000)])
    assert b"[DONE]" in await client.read(until=b"[DONE]")


@pytest.mark.parametrize("beginning", ["a blank line", "half a head", "half a body", "half a chunk"])
async def test_a_request_that_does_not_arrive_gives_its_place_back(
    gateway: RunningGateway, client: RawClient, monkeypatch: pytest.MonkeyPatch, beginning: str
) -> None:
    monkeypatch.setattr(BoundedConnection, "pace_seconds", 0.3)
    key, said = gateway.keys.chat, body("hello")
    begun = {
        "a blank line": b"\r\n",
        "half a head": head(key, 1)[:40],
        "half a body": head(key, len(said)) + said[:10],
        "half a chunk": head(key, None, b"Transfer-Encoding: chunked") + b"ff\r\n" + said[:10],
    }[beginning]
    before = server_sides(gateway.url)
    await client.send([begun])
    await asyncio.sleep(0.1)
    for _ in range(20):
        await client.send([b"\r\n" if beginning == "a blank line" else b"x"])
        await asyncio.sleep(0.05)
    assert await client.read(seconds=5) == b""
    await eventually(lambda: gateway.app.state.capacity.under_way == 0)
    await eventually(lambda: server_sides(gateway.url) <= before)


async def test_who_is_silent_after_a_body_that_was_not_waited_for_is_let_go_of_as_any_idle_client(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fixtures.gateway.KEEP_ALIVE_SECONDS", 0.5)
    async with start_gateway(scripted_engine.url) as gateway:
        client = await RawClient.connect(gateway.url)
        await client.send([head("nk_guessed", 2, target="/feedback")])
        assert (await client.read(until=b"}}")).startswith(b"HTTP/1.1 401 ")
        await client.send([b"{}"])
        await eventually(lambda: server_sides(gateway.url) == 0)
        client.cut()


async def test_who_waits_for_an_answer_is_not_taken_for_slow(
    gateway: RunningGateway, client: RawClient, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "pace_seconds", 0.1)
    scripted_engine.pause = 0.05
    await client.send([request(gateway.keys.chat, "hello"), b"\r\n"])
    assert b"[DONE]" in await client.read(until=b"[DONE]")


async def test_a_client_that_reads_nothing_is_cut_and_its_turn_kept_as_truncated(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "unread_seconds", 0.5)
    scripted_engine.reply = "x" * 50_000
    client = await RawClient.connect(gateway.url, buffer_bytes=1024)
    await client.send([request(gateway.keys.chat, "hello", b"X-Conversation-Id: unread")])
    await eventually(lambda: scripted_engine.hung_up == 1)
    await eventually(lambda: gateway.app.state.capacity.under_way == 0)
    assert scripted_engine.pieces_sent < 50_000
    found = (await gateway.chat.get("/conversations/unread")).json()
    assert [turn["finish_reason"] for turn in found["turns"]] == ["truncated"]
    client.cut()

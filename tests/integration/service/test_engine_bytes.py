"""What an engine may send: events cut anywhere, in any of the shapes that the format allows, and what is no stream."""

import random

import pytest

from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.raw_engine import END, RawEngine, piece, running_raw_engine
from tests.fixtures.rough_clients import split
from tests.fixtures.waiting import eventually

ASK = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "stream": True}
WORDS = "naïve 😀 ok"
GOOD = [piece({"content": letter}, "stop" if place == len(WORDS) - 1 else None) for place, letter in enumerate(WORDS)]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def replies(gateway: RunningGateway) -> list[tuple[str, str]]:
    """(why it ended, what was said) of each turn that is kept of the conversation `ours`."""
    found = (await gateway.chat.get("/conversations/ours")).json()
    return [(turn["finish_reason"], turn["reply"]["content"]) for turn in found["turns"]]


async def ask(gateway: RunningGateway, engine: RawEngine, said: list[bytes]) -> str:
    engine.pieces = said
    answer = await gateway.chat.post("/v1/chat/completions", json=ASK, headers={"X-Conversation-Id": "ours"})
    await eventually(lambda: gateway.app.state.capacity.under_way == 0)
    assert gateway.app.state.gateway.pool.engines[0].in_flight == 0
    return answer.text


@pytest.mark.parametrize("seed", range(8))
async def test_events_may_be_cut_at_any_byte(start_gateway: StartGateway, seed: int) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        heard = await ask(gateway, engine, split(random.Random(seed), b"".join([*GOOD, END]), 200))
        assert "[DONE]" in heard
        assert await replies(gateway) == [("stop", WORDS)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"data: ", b"data:"),
        (b"data: ", b": a comment \xff\n\ndata: "),
        (b"data: ", b"event: x\nid: 7\nretry: 5\ndata: "),
        (b"\n\n", b"\n\n\n\n"),
        (b"\n\n", b"\n"),
    ],
    ids=["CRLF", "no space", "comments", "other fields", "empty events", "no blank line"],
)
async def test_events_may_have_any_shape_that_the_format_knows(
    start_gateway: StartGateway, old: bytes, new: bytes
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        assert "[DONE]" in await ask(gateway, engine, [event.replace(old, new) for event in [*GOOD, END]])
        assert await replies(gateway) == [("stop", WORDS)]


X = piece({"content": "x"})
BAD = {
    "no UTF-8": X.replace(b"x", b"\xff"),
    "a NUL": X.replace(b"x", b"\x00"),
    "half a surrogate": X.replace(b'"x"', b'"\\ud800"'),
    "no data": b"data:\n\n",
    "two objects": b"data: {}{}\n\n",
    "an array": b"data: []\n\n",
    "a choice that is none": b'data: {"choices": [7]}\n\n',
    "choices that are none": b'data: {"choices": 7}\n\n',
    "a text that is none": X.replace(b'"x"', b"7", 1),
    "an id that is none": X.replace(b"[120]", b'["a"]'),
    "an id too large to keep": X.replace(b"[120]", b"[99999999999]"),
    "a log-prob that is none": X.replace(b"-1.0", b'"low"'),
    "an infinite log-prob": X.replace(b"-1.0", b"1e999"),
    "the billionth tool call": piece({"tool_calls": [{"index": 10**9}]}),
    "a tool call before the first": piece({"tool_calls": [{"index": -7}]}),
    "a finish that is none": piece({"content": "x"}, "stop").replace(b'"stop"', b"7"),
    "an abyss": b"data: " + b"[" * 100_000 + b"\n\n",
    "a line without end": b"data: " + b"x" * 9_000_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_is_no_stream_breaks_it_where_it_stands_and_keeps_what_came_before(
    start_gateway: StartGateway, bad: bytes
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        heard = await ask(gateway, engine, [*GOOD[:5], bad, *GOOD[5:], END])
        assert '"engine_failed"' in heard
        assert "[DONE]" not in heard
        assert await replies(gateway) == [("truncated", WORDS[:5])]

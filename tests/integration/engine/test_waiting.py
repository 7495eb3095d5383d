"""How long an engine is waited for, how much of what it says is taken in, and who stops waiting."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from core.domain.errors import EngineError, EngineSilentError, EngineTimeoutError, EngineUnavailableError
from core.engine.client import EngineClient
from core.engine.connection import MOST_HEAD_BYTES, MOST_UNREAD_BYTES, MOST_WHOLE_BYTES
from core.engine.connections import Connections
from core.settings import EngineSettings
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.loopback_engine import Line, LoopbackEngine, Serve, loopback_engine
from tests.fixtures.loops import on_both_loops
from tests.fixtures.waiting import eventually

SECONDS = 20.0
ANSWER = b'{"choices": [{"message": {"role": "assistant", "content": "hi"}}]}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MOST_TAKEN_AT_ONCE = 256 * 1024
"""By either loop, off a socket."""
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(number: int, padding: int = 0) -> bytes:
    return chunk(b"data: " + json.dumps({"number": number, "padding": "x" * padding}).encode() + b"\n\n")


DONE = chunk(b"data: [DONE]\n\n")


@asynccontextmanager
async def asked(serve: Serve, **settings: float) -> AsyncIterator[tuple[LoopbackEngine, EngineClient]]:
    async with loopback_engine(serve) as engine:
        client = EngineClient(engine.url, EngineSettings.model_validate({"engine_urls": engine.url, **settings}))
        yield engine, client
        client.close()


async def numbers(client: EngineClient, seconds: float = SECONDS) -> list[int]:
    async with aclosing(client.stream({}, seconds)) as chunks:
        return [one["number"] async for one in chunks]


async def deaf(line: Line) -> None:
    await line.hear()
    await line.until_hung_up()


@on_both_loops
async def test_a_head_without_end_is_the_engines_failure() -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await line.say(b"X-More: " + b"x" * 1000 + b"\r\n")

    async with asked(serve) as (engine, client):
        with pytest.raises(EngineError, match="broke the connection"):
            await client.complete({}, SECONDS)
        await asyncio.wait_for(engine.lines[0].ended.wait(), SECONDS)


@on_both_loops
async def test_a_head_of_the_most_bytes_is_read() -> None:
    padding = b"X: " + b"x" * (MOST_HEAD_BYTES - 1000)

    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(WHOLE.replace(b"Content", padding + b"\r\nContent", 1))

    async with asked(serve) as (_, client):
        assert await client.complete({}, SECONDS) == json.loads(ANSWER)


@on_both_loops
async def test_an_answer_without_end_is_taken_in_no_further_than_any_answer_goes() -> None:
    sent = 0

    async def serve(line: Line) -> None:
        nonlocal sent
        await line.hear()
        await line.say(STREAM)
        piece = chunk(b"x" * 2**18)
        while True:
            await line.say(piece)
            sent += 2**18

    async with asked(serve) as (engine, client):
        with pytest.raises(EngineError, match="more than any answer"):
            await client.complete({}, 600.0)
        await asyncio.wait_for(engine.lines[0].ended.wait(), SECONDS)
        assert MOST_WHOLE_BYTES <= sent < 1.5 * MOST_WHOLE_BYTES


@on_both_loops
async def test_when_the_time_is_over_the_engine_took_too_long_and_is_left() -> None:
    async def drip(line: Line) -> None:
        await line.hear()
        await line.say(STREAM)
        for number in range(10_000):
            await line.say(event(number))
            await asyncio.sleep(0.05)

    for serve in (deaf, drip):
        async with asked(serve) as (engine, client):
            for asking in (client.complete({}, 0.3), numbers(client, 0.3)):
                with pytest.raises(EngineTimeoutError) as failed:
                    await asking
                assert not isinstance(failed.value, EngineSilentError)
            for line in engine.lines:
                await asyncio.wait_for(line.ended.wait(), SECONDS)


@on_both_loops
async def test_a_stream_that_pauses_for_too_long_is_silent_and_one_that_does_not_is_heard_to_its_end() -> None:
    endings = iter([True, False])

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            ends = next(endings)
            await line.say(STREAM)
            for number in range(8):
                await line.say(event(number))
                await asyncio.sleep(0.2)
            await line.say(DONE, END) if ends else await line.until_hung_up()

    async with asked(serve, engine_silence_seconds=1.0) as (_, client):
        assert await numbers(client) == list(range(8))
        chunks = client.stream({}, SECONDS)
        assert [(await anext(chunks))["number"] for _ in range(8)] == list(range(8))
        with pytest.raises(EngineSilentError):
            await anext(chunks)


@on_both_loops
async def test_an_address_where_nobody_listens_is_unavailable() -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    client = EngineClient(url, EngineSettings(engine_urls=url))
    for asking in (client.complete({}, SECONDS), numbers(client)):
        with pytest.raises(EngineUnavailableError):
            await asking
    assert not await client.is_healthy()


@on_both_loops
async def test_a_stream_that_nobody_reads_is_taken_in_no_further_and_goes_on_when_it_is_read() -> None:
    sent, events = 0, 600

    async def serve(line: Line) -> None:
        nonlocal sent
        await line.hear()
        await line.say(STREAM)
        for number in range(events):
            await line.say(event(number, 100_000))
            sent = number + 1
        await line.say(DONE, END)

    async with asked(serve, engine_silence_seconds=1.0) as (_, client):
        chunks = client.stream({}, SECONDS)
        heard = [(await anext(chunks))["number"]]
        before = -1
        while sent != before:  # until the engine can send no more
            before = sent
            await asyncio.sleep(0.5)
        assert sent < events, "what is not taken in here fills the buffers on the way"
        await asyncio.sleep(1.5)  # longer than a pause of the engine's may be
        assert sent == before
        heard += [one["number"] async for one in chunks]
        assert heard == list(range(events))


@on_both_loops
async def test_no_more_of_an_unread_stream_is_kept_than_said() -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(STREAM, *(event(number, 1000) for number in range(20_000)), DONE, END)

    async with loopback_engine(serve) as engine:
        request = [b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"]
        deadline = asyncio.get_running_loop().time() + SECONDS
        connection = await Connections(engine.url, SECONDS).send(request, deadline, None)
        await connection.head()
        await asyncio.sleep(0.5)
        assert len(await connection.more()) <= MOST_UNREAD_BYTES + MOST_TAKEN_AT_ONCE
        connection.abort()


@on_both_loops
async def test_who_stops_waiting_hangs_up() -> None:
    async def speak(line: Line) -> None:
        await line.hear()
        await line.say(STREAM, event(0))
        await line.until_hung_up()

    async with asked(speak) as (engine, client):
        for asking in (client.complete({}, SECONDS), numbers(client)):
            waiting = asyncio.ensure_future(asking)
            await eventually(lambda: bool(engine.lines) and engine.lines[-1].heard == 1)
            waiting.cancel()
            await asyncio.wait_for(engine.lines.pop().ended.wait(), SECONDS)
        chunks = client.stream({}, SECONDS)
        await anext(chunks)
        await chunks.aclose()
        await asyncio.wait_for(engine.lines.pop().ended.wait(), SECONDS)


@on_both_loops
async def test_a_stream_that_is_done_gives_its_connection_to_the_next_once_its_end_has_come() -> None:
    ending = asyncio.Event()

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await line.say(STREAM, event(1), DONE)
            await ending.wait()
            await line.say(END)

    async with asked(serve) as (engine, client):
        assert await numbers(client) == [1]
        assert await numbers(client) == [1]
        assert len(engine.lines) == 2, "the first has not come to its end yet"
        ending.set()
        await asyncio.sleep(0.2)
        assert list(await asyncio.gather(numbers(client), numbers(client))) == [[1], [1]]
        assert [line.heard for line in engine.lines] == [2, 2]


@on_both_loops
async def test_a_stream_that_breaks_off_before_it_is_done_is_the_engines_failure() -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(STREAM, event(1), *([END] if len(engine.lines) == 1 else []))

    async with asked(serve) as (engine, client):
        for sentence in ("closed the stream before its end", "broke the connection"):
            with pytest.raises(EngineError, match=sentence):
                await numbers(client)


@on_both_loops
async def test_to_give_up_replies_ends_whole_ones_and_no_stream() -> None:
    going_on = asyncio.Event()

    async def serve(line: Line) -> None:
        if b'"stream"' not in await line.hear():
            return await line.until_hung_up()
        await line.say(STREAM, event(1))
        await going_on.wait()
        return await line.say(DONE, END)

    async with asked(serve) as (engine, client):
        streamed = asyncio.ensure_future(numbers(client))
        whole = [asyncio.ensure_future(client.complete({}, SECONDS)) for _ in range(3)]
        await eventually(lambda: len(engine.lines) == 4 and all(line.heard for line in engine.lines))
        client.give_up_replies()
        for reply in whole:
            with pytest.raises(EngineSilentError):
                await reply
        await eventually(lambda: sum(line.ended.is_set() for line in engine.lines) == 3)
        going_on.set()
        assert await streamed == [1]

"""The load against the mock engine: what it notes of replies that come whole, and of one that breaks off."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bench.gateway.client import Client, Heard
from bench.gateway.conversation import Conversation, Manner
from bench.gateway.engine import Engine, reply

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: engine\r\nContent-Length: "
BEGUN = b'data: {"id":"turn_1","choices":[{"finish_reason":null}]}\n\n'
Address = tuple[str, int]


@pytest.fixture
async def engine() -> AsyncIterator[Address]:
    server = await asyncio.get_running_loop().create_server(lambda: Engine(0.0), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()
    server.close()


async def speak(address: Address, manner: Manner, turns: int) -> tuple[Client, Heard]:
    heard = Heard()
    until = time.perf_counter() + 30
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: Client(HEAD, manner, heard, until=until, turns=turns), *address
    )
    await asyncio.wait_for(client.ended, 30)
    return client, heard


async def test_the_first_turn_of_each_conversation_is_counted_apart(engine: Address) -> None:
    client, heard = await speak(engine, Manner("mock", turns=3, tokens=4, stream=False, named=True), turns=7)
    assert client.refused is None
    assert (len(heard.first_turns), len(heard.later_turns), len(set(heard.ids)), heard.cut) == (3, 4, 7, 0)


async def test_of_a_stream_every_event_is_counted_to_its_done(engine: Address) -> None:
    client, heard = await speak(engine, Manner("mock", turns=2, tokens=4, stream=True, named=False), turns=2)
    assert client.refused is None
    assert heard.events == 2 * (1 + 4 + 1), "the role, four tokens, and the end"
    assert len(heard.first_events) == len(heard.chunk_costs) == 2
    assert all(first <= whole for first, whole in zip(heard.first_events, heard.first_turns, strict=False))


@pytest.mark.parametrize(
    ("came", "whole", "cut"),
    [
        (BEGUN, [], 1),
        (BEGUN + b'data: {"choices":[{"finish_reason":"stop"}]}\n\n', ["turn_1"], 0),
    ],
    ids=["before its finish", "after its finish"],
)
async def test_a_stream_that_breaks_off_was_whole_if_its_finish_had_come(
    came: bytes, whole: list[str], cut: int
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(came), came))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        _, heard = await speak(address, Manner("mock", turns=1, tokens=4, stream=True, named=False), turns=1)
    assert (heard.ids, heard.cut) == (whole, cut)


async def test_a_refusal_is_no_reply() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        client, heard = await speak(address, Manner("mock", turns=1, tokens=4, stream=False, named=False), turns=1)
    assert client.refused == "status 503: b'busy'"
    assert (heard.ids, heard.cut) == ([], 0)


def test_a_conversation_resends_what_was_said() -> None:
    conversation = Conversation(Manner("bench", turns=2, tokens=4, stream=True, named=True))
    first = conversation.body()
    conversation.hear(reply(4))
    second = conversation.body()
    assert first.count(b'"role":"user"') == 1
    assert second.count(b'"role":"user"') == 2
    assert b'"content":"word word word word "' in second
    assert f'"conversation_id":"{conversation.name}"'.encode() in second
    assert not conversation.is_over

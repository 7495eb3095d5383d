"""Connections to an engine: answers in every framing that HTTP/1.1 knows, and which of them the next request takes."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.domain.errors import EngineError, EngineUnavailableError
from core.engine import connections as module
from core.engine.connection import Connection
from core.engine.connections import Connections
from tests.fixtures.loopback_engine import Line, LoopbackEngine, Serve, loopback_engine
from tests.fixtures.loops import on_both_loops

SECONDS = 20.0
BODY = "naïve 😀".encode() * 9
HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\n"
WITH_LENGTH = HEAD + f"Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED += b"".join(f"{len(part):x};x=y\r\n".encode() + part + b"\r\n" for part in (BODY[:1], BODY[1:])) + b"0\r\n\r\n"


@asynccontextmanager
async def connected(
    serve: Serve, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[LoopbackEngine, Connections]]:
    async with loopback_engine(serve, tls) as engine:
        connections = Connections(engine.url, SECONDS)
        yield engine, connections
        connections.close()


async def ask(connections: Connections, body: bytes = b"", *, seconds: float = SECONDS) -> Connection:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return await connections.send([head, body], asyncio.get_running_loop().time() + seconds, None)


async def hear(connections: Connections, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of an answer, and the connection given back."""
    connection = await ask(connections, body)
    try:
        heard = await connection.whole()
    finally:
        connections.give_back(connection)
    return connection.status, heard


def saying(*pieces: bytes) -> Serve:
    """The same answer to each request."""

    async def serve(line: Line) -> None:
        while True:
            await line.hear()
            await line.say(*pieces)

    return serve


def bytewise(answer: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in answer]


@pytest.mark.parametrize("cut", [lambda answer: [answer], bytewise], ids=["one piece", "byte by byte"])
@pytest.mark.parametrize(
    "answer",
    [
        WITH_LENGTH,
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + WITH_LENGTH,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + CHUNKED,
        CHUNKED[:-2] + b"Trailer: x\r\n\r\n",
    ],
    ids=["length", "chunked", "continue", "early hints", "trailer"],
)
@on_both_loops
async def test_an_answer_is_read_in_each_framing_and_its_connection_kept(
    answer: bytes, cut: Callable[[bytes], list[bytes]]
) -> None:
    async with connected(saying(*cut(answer))) as (engine, connections):
        for _ in range(3):
            assert await hear(connections, b"hello") == (200, BODY)
        assert [line.heard for line in engine.lines] == [3]


@pytest.mark.parametrize("cut", [lambda answer: [answer], bytewise], ids=["one piece", "byte by byte"])
@on_both_loops
async def test_an_answer_without_a_length_ends_with_its_connection(cut: Callable[[bytes], list[bytes]]) -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(*cut(HEAD + b"\r\n" + BODY))

    async with connected(serve) as (engine, connections):
        assert [await hear(connections), await hear(connections)] == [(200, BODY)] * 2
        assert [line.heard for line in engine.lines] == [1, 1]


@on_both_loops
async def test_an_answer_without_a_body_is_whole_with_its_head() -> None:
    async with connected(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as (engine, connections):
        assert [await hear(connections), await hear(connections)] == [(204, b"")] * 2
        assert len(engine.lines) == 1


@pytest.mark.parametrize(
    "answer",
    [WITH_LENGTH.replace(b"Server: x", b"Connection: close"), WITH_LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0")],
    ids=["close", "HTTP/1.0"],
)
@on_both_loops
async def test_a_connection_that_the_engine_will_close_is_not_taken_again(answer: bytes) -> None:
    async with connected(saying(answer)) as (engine, connections):
        assert [await hear(connections), await hear(connections)] == [(200, BODY)] * 2
        assert [line.heard for line in engine.lines] == [1, 1]


@on_both_loops
async def test_a_connection_that_the_engine_closed_while_nobody_used_it_is_not_taken() -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(WITH_LENGTH)

    async with connected(serve) as (engine, connections):
        for _ in range(3):
            assert await hear(connections) == (200, BODY)
            await asyncio.sleep(0.2)
        assert len(engine.lines) == 3


@on_both_loops
async def test_a_connection_that_was_idle_for_too_long_is_not_taken_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.2)
    async with connected(saying(WITH_LENGTH)) as (engine, connections):
        await hear(connections)
        await asyncio.sleep(0.5)
        await hear(connections)
        assert [line.heard for line in engine.lines] == [1, 1]
        async with asyncio.timeout(SECONDS):
            await engine.lines[0].ended.wait()


@on_both_loops
async def test_an_idle_connection_on_which_something_comes_is_closed() -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(WITH_LENGTH)
        await asyncio.sleep(0.1)
        await line.say(WITH_LENGTH)
        await line.until_hung_up()

    async with connected(serve) as (engine, connections):
        await hear(connections)
        await asyncio.sleep(0.5)
        assert await hear(connections) == (200, BODY)
        assert len(engine.lines) == 2


@on_both_loops
async def test_what_follows_an_answer_is_no_part_of_it_and_ends_its_connection() -> None:
    followed = WITH_LENGTH + b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"
    async with connected(saying(followed)) as (engine, connections):
        assert [await hear(connections), await hear(connections)] == [(200, BODY)] * 2
        assert len(engine.lines) == 2


@on_both_loops
async def test_requests_at_once_have_a_connection_each_and_later_ones_take_the_last_used() -> None:
    async with connected(saying(WITH_LENGTH)) as (engine, connections):
        await asyncio.gather(*(hear(connections) for _ in range(5)))
        assert len(engine.lines) == 5
        for _ in range(10):
            await hear(connections)
        assert sorted(line.heard for line in engine.lines) == [1, 1, 1, 1, 11]


@on_both_loops
async def test_a_request_of_20_mb_arrives_whole() -> None:
    large = bytes(range(256)) * 80_000

    async def serve(line: Line) -> None:
        while True:
            assert await line.hear() == large
            await line.say(WITH_LENGTH)

    async with connected(serve) as (engine, connections):
        assert [await hear(connections, large), await hear(connections, large)] == [(200, BODY)] * 2
        assert len(engine.lines) == 1


@on_both_loops
async def test_what_was_closed_gives_no_connection_back() -> None:
    async with connected(saying(WITH_LENGTH)) as (engine, connections):
        connection = await ask(connections)
        connections.close()
        assert await connection.whole() == BODY
        connections.give_back(connection)
        async with asyncio.timeout(SECONDS):
            await engine.lines[0].ended.wait()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="session")
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@on_both_loops
async def test_an_engine_whose_certificate_nobody_vouches_for_is_unavailable(tls: ssl.SSLContext) -> None:
    async with connected(saying(WITH_LENGTH), tls) as (engine, connections):
        with pytest.raises(EngineUnavailableError):
            await hear(connections)
        assert engine.lines == []


@on_both_loops
async def test_an_engine_whose_certificate_is_known_is_asked_over_tls(
    tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    async with connected(saying(CHUNKED), tls) as (engine, connections):
        assert [await hear(connections), await hear(connections)] == [(200, BODY)] * 2
        assert len(engine.lines) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        HEAD,
        HEAD + b"Content-Length: 9\r\n\r\nhalf",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nfive\r\nwhole\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nwhole",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
    ],
    ids=[
        "none",
        "half a head",
        "half a body",
        "half a chunk",
        "no chunk",
        "no length",
        "two lengths",
        "upgrade",
        "end",
    ],
)
@on_both_loops
async def test_what_is_no_whole_answer_is_the_engines_failure(answer: bytes) -> None:
    async def serve(line: Line) -> None:
        await line.hear()
        await line.say(answer)

    async with connected(serve) as (_, connections):
        with pytest.raises(EngineError, match="broke the connection"):
            await hear(connections)

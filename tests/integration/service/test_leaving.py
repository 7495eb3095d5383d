"""A gateway's process that is told to end: who is being served is served to the end, and nothing that came is lost."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import func, select

from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.gateway import SECRET, Keys, client
from tests.fixtures.processes import running_program
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

CLIENTS = 8
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class Process:
    """A gateway's process and a client of it."""

    process: subprocess.Popen[bytes]
    chat: httpx.AsyncClient

    def is_over(self) -> bool:
        return self.process.poll() is not None


Start = Callable[..., AbstractAsyncContextManager[Process]]


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def start(database_url: str, keys: Keys, scripted_engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Start]:
    clients: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def started(python_path: str = ".", **settings: int) -> AsyncIterator[Process]:
        port = find_free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {
            "NOCK_DATABASE_URL": database_url,
            "NOCK_ENGINE_URLS": scripted_engine.url,
            "NOCK_SECRET": SECRET,
            "NOCK_PORT": str(port),
            "NOCK_RETRY_WINDOW_SECONDS": "0",
            "PYTHONPATH": python_path,
        } | {f"NOCK_{name.upper()}": str(value) for name, value in settings.items()}
        async with running_program(
            "service", log=tmp_path / "gateway.log", until_answers=f"{url}/readyz", environment=environment
        ) as process:
            clients.append(client(url, keys.chat))
            yield Process(process, clients[-1])

    yield started
    for one in clients:
        await one.aclose()


async def ask(chat: httpx.AsyncClient, *, stream: bool) -> httpx.Response:
    return await chat.post("/v1/chat/completions", json=BODY | {"stream": stream})


async def count_turns(database: Database, finish_reason: str) -> int:
    async with database.transaction() as session:
        statement = select(func.count()).where(models.Turn.finish_reason == finish_reason)
        return await session.scalar(statement) or 0


async def test_a_gateway_that_is_told_to_end_under_load_fails_no_request(
    start: Start, scripted_engine: ScriptedEngine, database: Database
) -> None:
    scripted_engine.pause = 0.05
    answers: list[httpx.Response] = []
    async with start(leave_seconds=2) as gateway:
        is_ready = asyncio.Event()
        is_ready.set()

        async def balance() -> None:
            """As a load balancer does: ask, and send nobody there any more."""
            while is_ready.is_set():
                if (await gateway.chat.get("/readyz")).status_code != 200:
                    is_ready.clear()
                await asyncio.sleep(0.1)

        async def talk(stream: bool) -> None:
            while is_ready.is_set():
                answers.append(await ask(gateway.chat, stream=stream))

        async with asyncio.TaskGroup() as group:
            group.create_task(balance())
            for number in range(CLIENTS):
                group.create_task(talk(stream=number % 2 == 0))
            await eventually(lambda: len(answers) >= CLIENTS)
            gateway.process.send_signal(signal.SIGTERM)
        await eventually(gateway.is_over)
        assert gateway.process.returncode == -signal.SIGTERM
    assert {answer.status_code for answer in answers} == {200}
    assert all("[DONE]" in answer.text for answer in answers if answer.text.startswith("data:"))
    assert await count_turns(database, "stop") == len(answers)


async def test_what_is_under_way_goes_on_after_the_gateway_takes_nobody_any_more(
    start: Start, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.2
    async with start() as gateway:
        both = [asyncio.create_task(ask(gateway.chat, stream=stream)) for stream in (False, True)]
        await eventually(lambda: len(scripted_engine.requests) == 2)
        scripted_engine.pause = 0.1
        gateway.process.send_signal(signal.SIGTERM)
        whole, streamed = await asyncio.gather(*both)
        assert (whole.status_code, streamed.status_code) == (200, 200)
        assert "[DONE]" in streamed.text
        await eventually(gateway.is_over)


async def test_what_takes_longer_than_the_drain_is_cut_and_kept(
    start: Start, scripted_engine: ScriptedEngine, database: Database
) -> None:
    async with start(drain_seconds=1) as gateway:
        scripted_engine.fault = "mute"
        streamed = asyncio.create_task(ask(gateway.chat, stream=True))
        await scripted_engine.speaking.wait()
        scripted_engine.fault = "hang"
        whole = asyncio.create_task(ask(gateway.chat, stream=False))
        await eventually(lambda: len(scripted_engine.requests) == 2)
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "leaving")
        assert "Retry-After" in answer.headers
        with pytest.raises(httpx.RemoteProtocolError):
            await streamed
        await eventually(gateway.is_over)
        assert 1.0 <= time.monotonic() - began < 10.0
    assert await count_turns(database, "truncated") == 1


async def test_who_tells_it_twice_means_at_once(start: Start, scripted_engine: ScriptedEngine) -> None:
    scripted_engine.fault = "hang"
    async with start() as gateway:
        waiting = asyncio.create_task(ask(gateway.chat, stream=False))
        await eventually(lambda: len(scripted_engine.requests) == 1)
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert not gateway.is_over()
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(gateway.is_over)
        assert time.monotonic() - began < 5.0
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting


def processes_of(gateway: Process) -> list[psutil.Process]:
    """Those that serve, not the one that keeps them, nor what is left of one that died."""
    children = psutil.Process(gateway.process.pid).children()
    alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if "spawn_main" in " ".join(one.cmdline())]


async def test_of_several_processes_one_that_dies_is_replaced_and_all_end_together(start: Start) -> None:
    async with start(processes=2) as gateway:
        first = processes_of(gateway)
        assert len(first) == 2
        first[0].kill()
        await eventually(lambda: len(processes_of(gateway)) == 2 and first[0] not in processes_of(gateway))
        await eventually_answers(gateway)
        gateway.process.send_signal(signal.SIGTERM)
        await eventually(gateway.is_over)
        assert not [one for one in first if one.is_running()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "systemd"])
async def test_several_processes_that_are_told_together_drain_though_their_keeper_tells_them_again(
    start: Start, scripted_engine: ScriptedEngine, number: signal.Signals
) -> None:
    scripted_engine.pause = 0.3
    async with start(processes=2) as gateway:
        streamed = asyncio.create_task(ask(gateway.chat, stream=True))
        await eventually(lambda: len(scripted_engine.requests) == 1)
        os.killpg(gateway.process.pid, number)
        assert "[DONE]" in (await streamed).text
        await eventually(gateway.is_over)


async def test_several_processes_that_are_told_together_twice_end_at_once(
    start: Start, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "hang"
    async with start(processes=2) as gateway:
        waiting = asyncio.create_task(ask(gateway.chat, stream=False))
        await eventually(lambda: len(scripted_engine.requests) == 1)
        os.killpg(gateway.process.pid, signal.SIGINT)
        await asyncio.sleep(2)
        assert not gateway.is_over()
        os.killpg(gateway.process.pid, signal.SIGINT)
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting
        await eventually(gateway.is_over)


async def test_of_several_processes_none_is_replaced_that_takes_longer_to_start_than_uvicorn_would_wait(
    start: Start, tmp_path: Path
) -> None:
    delay = "import sys, time\nif '--multiprocessing-fork' in sys.orig_argv:\n    time.sleep(6)\n"
    (tmp_path / "sitecustomize.py").write_text(delay)
    async with start(python_path=f"{tmp_path}:.", processes=2) as gateway:
        first, second = (one.create_time() for one in processes_of(gateway))
        assert abs(first - second) < 3


async def test_no_process_outlives_the_one_that_keeps_them(start: Start) -> None:
    async with start(processes=2) as gateway:
        serving = processes_of(gateway)
        gateway.process.kill()
        await eventually(lambda: not any(one.is_running() for one in serving))


async def eventually_answers(gateway: Process) -> None:
    """A request that met the dying process is tried again, as any client would."""
    for _ in range(20):
        with suppress(httpx.TransportError):
            assert (await ask(gateway.chat, stream=False)).status_code == 200
            return
    pytest.fail("no process answers")

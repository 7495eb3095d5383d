"""Two engines as processes, one of them killed or stopped under load: who asked for a whole reply gets it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.processes import running_program
from tests.fixtures.waiting import eventually

CLIENTS = 12
SECONDS_A_REPLY = "0.3"


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[dict[str, subprocess.Popen[bytes]]]:
    """By address."""
    async with AsyncExitStack() as stack:
        found = {}
        for number in range(2):
            port = find_free_port()
            url = f"http://127.0.0.1:{port}"
            program = running_program(
                "tests.fixtures.scripted_engine",
                str(port),
                SECONDS_A_REPLY,
                log=tmp_path / f"{number}.log",
                until_answers=f"{url}/health",
            )
            found[url] = await stack.enter_async_context(program)
        yield found


async def ask(gateway: RunningGateway, number: int, *, stream: bool = False) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": f"hello {number}"}], "stream": stream}
    return await gateway.chat.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_engine_that_dies_or_freezes_under_load_costs_no_whole_reply(
    start_gateway: StartGateway, engines: dict[str, subprocess.Popen[bytes]], how: signal.Signals
) -> None:
    limits = {"engine_connect_seconds": 3.0, "engine_silence_seconds": 3.0, "engine_timeout_seconds": 60.0}
    answers: list[httpx.Response] = []
    async with start_gateway(",".join(engines), engine=limits, engine_check_seconds=0.1) as gateway:
        pool = gateway.app.state.gateway.pool
        over = asyncio.Event()

        async def talk(first: int) -> None:
            number = first
            while not over.is_set():
                answers.append(await ask(gateway, number))
                number += CLIENTS

        async with asyncio.TaskGroup() as group:
            for first in range(CLIENTS):
                group.create_task(talk(first))
            victim = pool.engines[0]
            await eventually(lambda: len(answers) >= CLIENTS and victim.in_flight > 0)
            os.kill(engines[victim.url].pid, how)
            before = len(answers)
            await eventually(lambda: victim.in_flight == 0 and len(answers) > before + 3 * CLIENTS, seconds=60)
            over.set()
        assert {answer.status_code for answer in answers} == {200}, {answer.text for answer in answers}
        assert victim.models is None


async def test_a_killed_engine_breaks_the_streams_that_it_had_begun_and_no_other(
    start_gateway: StartGateway, engines: dict[str, subprocess.Popen[bytes]]
) -> None:
    async with start_gateway(",".join(engines), engine_check_seconds=0.1) as gateway:
        pool = gateway.app.state.gateway.pool
        streams = [asyncio.create_task(ask(gateway, number, stream=True)) for number in range(CLIENTS)]
        await eventually(lambda: sum(engine.in_flight for engine in pool.engines) == CLIENTS)
        await asyncio.sleep(1.0)  # each has begun
        victim = pool.engines[0]
        broken = victim.in_flight
        engines[victim.url].kill()
        answers = await asyncio.gather(*streams)
        assert {answer.status_code for answer in answers} == {200}
        assert sum("engine_failed" in answer.text for answer in answers) == broken
        assert sum("[DONE]" in answer.text for answer in answers) == CLIENTS - broken
        assert (await ask(gateway, 99)).status_code == 200

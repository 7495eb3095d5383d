"""Several gateway processes behind one port are one gateway to Prometheus, also after one of them has died."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from core.storage.database import Database
from service import metric_files
from tests.fixtures.builders import create_agent
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.gateway import SECRET, Keys, client
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.integration.worker.test_celery import running

TURNS = 20


def processes() -> set[int]:
    """Those that have counted, by their files."""
    folder = Path(os.environ[metric_files.FOLDER])
    return {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_livesum_*.db")}


async def until_both_serve(url: str, *, without: int | None = None) -> None:
    async with asyncio.timeout(90):
        while True:
            with suppress(httpx.TransportError):
                async with client(url, None) as gateway:
                    await gateway.get("/metrics")  # which forgets the dead
                if len(processes()) == 2 and without not in processes():
                    return
            await asyncio.sleep(0.1)


async def scrape(gateway: httpx.AsyncClient) -> dict[str, float]:
    told = (await gateway.get("/metrics")).text
    wanted = {"nock_turns_total", "nock_pool_connections", "nock_healthy_engines", "nock_database_up"}
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            if sample.name in wanted:
                found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


async def test_whichever_process_is_asked_tells_what_all_have_counted(
    database: Database, database_url: str, scripted_engine: ScriptedEngine, keys: Keys, tmp_path: Path
) -> None:
    await create_agent(database, "demo")
    port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "service.app:create_app", "--port", str(port)]
    environment = {
        "NOCK_DATABASE_URL": database_url,
        "NOCK_ENGINE_URLS": scripted_engine.url,
        "NOCK_SECRET": SECRET,
    }
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
    url = f"http://127.0.0.1:{port}"
    with (
        metric_files.shared_folder(),
        running([*command, "--workers", "2"], environment, tmp_path / "gateway.log", grace=5),
    ):
        await until_both_serve(url)
        for _ in range(TURNS):
            async with client(url, keys.chat) as gateway:  # each its own connection, and so any process
                assert (await gateway.post("/v1/chat/completions", json=body)).status_code == 200
        for _ in range(10):
            async with client(url, None) as gateway:
                told = await scrape(gateway)
            assert (told["nock_turns_total"], told["nock_healthy_engines"], told["nock_database_up"]) == (TURNS, 1, 1)
        dead = min(processes())
        os.kill(dead, signal.SIGKILL)
        await asyncio.sleep(0.5)
        async with client(url, None) as gateway:
            assert (await scrape(gateway))["nock_turns_total"] == TURNS
        await until_both_serve(url, without=dead)  # uvicorn starts another
        async with client(url, None) as gateway:
            assert (await scrape(gateway))["nock_turns_total"] == TURNS

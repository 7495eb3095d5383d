"""Engines that are found by a name or in a file, while they come and go."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.engine.pool import EnginePool, open_pool
from core.settings import EngineSettings
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.scripted_engine import ScriptedEngine, running_scripted_engine

MESSAGES = [{"role": "user", "content": "hello"}]


def urls(pool: EnginePool) -> list[str]:
    return [engine.url for engine in pool.engines]


def replace(path: Path, text: str) -> None:
    """As a careful writer does it, and Kubernetes with a mounted ConfigMap."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


async def test_a_file_is_read_again_and_what_is_in_it_twice_is_one_engine(
    scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, tmp_path: Path
) -> None:
    path = tmp_path / "engines.txt"
    path.write_text(f"{scripted_engine.url} # the first\n")
    async with open_pool(EngineSettings(engine_urls=f"file://{path},{scripted_engine.url}/")) as pool:
        assert urls(pool) == [scripted_engine.url]
        first = pool.engines[0]
        replace(path, f"{second_engine.url}\n")
        await pool.refresh()
        assert urls(pool) == [second_engine.url, scripted_engine.url]
        assert pool.engines[1] is first, "what is known of an engine outlives a change elsewhere"
        assert len(pool.healthy) == 2


@pytest.mark.parametrize("broken", ["", "http://good:8000\nht", "# all gone\n", None, "\xff"])
async def test_a_file_that_makes_no_sense_takes_no_engine_out(
    scripted_engine: ScriptedEngine, tmp_path: Path, broken: str | None
) -> None:
    path = tmp_path / "engines.txt"
    path.write_text(scripted_engine.url)
    async with open_pool(EngineSettings(engine_urls=f"file://{path}")) as pool:
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken.encode("latin-1"))
        await pool.refresh()
        assert urls(pool) == [scripted_engine.url]
        assert len(pool.healthy) == 1


async def test_a_file_that_is_not_there_yet_is_found_later(scripted_engine: ScriptedEngine, tmp_path: Path) -> None:
    path = tmp_path / "engines.txt"
    async with open_pool(EngineSettings(engine_urls=f"file://{path}")) as pool:
        assert urls(pool) == []
        path.write_text(scripted_engine.url)
        await pool.refresh()
        assert len(pool.healthy) == 1


async def test_an_engine_that_vanishes_finishes_what_it_says(
    scripted_engine: ScriptedEngine, second_engine: ScriptedEngine, tmp_path: Path
) -> None:
    path = tmp_path / "engines.txt"
    path.write_text(scripted_engine.url)
    scripted_engine.pause = 0.02
    async with open_pool(EngineSettings(engine_urls=f"file://{path}")) as pool:
        await pool.refresh()
        chunks = pool.engines[0].stream({"model": "tiny", "messages": MESSAGES}, 10.0)
        await anext(chunks)
        replace(path, second_engine.url)
        await pool.refresh()
        assert [engine.url for engine in pool.serving("tiny")] == [second_engine.url]
        rest = [chunk async for chunk in chunks]
        assert rest[-2]["choices"][0]["finish_reason"] == "stop"


class Names:
    """A name server for one name; all others are asked of the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: Sequence[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._find)

    def _find(self, host: Any, port: Any, *more: Any, **named: Any) -> list[Any]:
        if host != "engines.test":
            return self._real(host, port, *more, **named)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "the name server is away")
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kinds[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in self.addresses]


async def test_every_address_of_a_name_is_an_engine_and_they_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    names, port = Names(monkeypatch), find_free_port()
    async with (
        running_scripted_engine("127.0.0.1", port),
        running_scripted_engine("127.0.0.2", port) as second,
        open_pool(EngineSettings(engine_urls=f"dns+http://engines.test:{port}")) as pool,
    ):
        assert urls(pool) == []
        names.addresses = ["127.0.0.2", "127.0.0.1", "127.0.0.2"]
        await pool.refresh()
        assert urls(pool) == [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"]
        assert len(pool.healthy) == 2
        names.addresses = ["127.0.0.2", "::1"]
        await pool.refresh()
        assert urls(pool) == [f"http://127.0.0.2:{port}", f"http://[::1]:{port}"]
        assert [engine.url for engine in pool.healthy] == [second.url]
        names.addresses = []
        await pool.refresh()
        assert len(urls(pool)) == 2, "a name server that is away takes no engine out"

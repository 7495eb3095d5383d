"""The engine's client against what no engine should do."""

import socket
from collections.abc import Iterator

import pytest

from core.domain.errors import EngineUnavailableError
from core.engine.pool import open_pool
from core.settings import EngineSettings


@pytest.fixture
def deaf_url() -> Iterator[str]:
    """An address that listens and accepts nobody: its queue of one is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_an_engine_that_accepts_no_connection_is_unavailable_so_that_the_next_one_is_asked(deaf_url: str) -> None:
    settings = EngineSettings(engine_urls=deaf_url, engine_connect_seconds=0.2)
    async with open_pool(settings) as pool:
        with pytest.raises(EngineUnavailableError, match="does not answer"):
            await pool.engines[0].client.complete({})
        await pool.refresh()
        assert pool.healthy == []

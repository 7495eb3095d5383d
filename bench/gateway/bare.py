"""The least that a gateway of this stack costs: uvicorn passes each request on by Nock's own connections, and keeps
nothing, knows no key and reads no word of it."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from bench.gateway.engine import MODEL
from bench.gateway.stack import Ground
from bench.gateway.targets import CHAT, Target, held_by
from bench.outcomes import servers
from bench.swap.stack import free_port
from core.engine.connections import Connections

DEADLINE = float("inf")


@contextmanager
def running(ground: Ground) -> Iterator[Target]:
    folder, port = ground.folder / "bare", free_port()
    folder.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "bench.gateway.bare", f"--port={port}", f"--engine={ground.engine_url}"]
    with servers.running(argv, {}, folder / "log", lambda: servers.answers(f"{url}/health"), stop="TERM") as tether:
        yield Target("bare-proxy", url + CHAT, MODEL, tuple(held_by(tether.pid)))


class Proxy:
    def __init__(self, engine: str) -> None:
        self._connections = Connections(engine, connect_seconds=5.0)
        self._host = engine.removeprefix("http://")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        head = (
            f"{scope['method']} {scope['path']} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection = await self._connections.send([head.encode(), body], DEADLINE, None)
        try:
            await connection.head()
            await send({"type": "http.response.start", "status": connection.status, "headers": []})
            while data := await connection.more():
                await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._connections.give_back(connection)
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.bare", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--engine", required=True)
    given = parser.parse_args()
    uvicorn.run(Proxy(given.engine), port=given.port, lifespan="off", ws="none", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

"""2,000 conversations at once on open streams, and what somebody who reads a byte a second costs the others."""

import argparse
import json
import socket
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.gateway import targets
from bench.gateway.cases import measure, run, settle
from bench.gateway.conversation import Conversation, Manner
from bench.gateway.engine import AT_ONCE
from bench.gateway.stack import running
from bench.gateway.targets import Target

ROOMY = {"NOCK_ENGINE_CONCURRENCY": "4096", "NOCK_MOST_REQUESTS": "4096"}
"""More than the defaults let in at once, which answer 503 beyond 256 an engine and 1,024 a gateway."""
RESULT = Path(__file__).parents[1] / "results" / "gateway_streams.json"
SLOW_READERS = 4
LONG = 2 * AT_ONCE
"""Tokens that a slow reader asks for: more than fits into the buffers on the way."""
FILL_SECONDS = 60.0
"""At most so long until their buffers are full and all that can be done for them is to wait."""


def many(streams: int, pause: float, tokens: int) -> dict[str, Any]:
    """So many streams at once through the gateway, and straight from the engine."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, running(Path(name), pause=pause) as ground:
        load = [f"--in-flight={streams}", "--seconds=0", "--stream", f"--tokens={tokens}"]
        found["direct"] = run(targets.direct(ground.engine_url), load)
        with targets.nock(
            ground.folder, ground.database_url, ground.engine_url, ground.key, environment=ROOMY
        ) as target:
            run(target, ["--in-flight=16", "--seconds=1", "--stream", "--tokens=3"])  # warm, as a gateway is
            found["nock"] = measure(target, load, ground.bystanders)
            found["nock"]["resident_mb"] = target.processes[0].memory_info().rss / 2**20
    return found


def beside_slow_readers(rounds: int, pause: float) -> dict[str, Any]:
    """The gaps between the events of 16 streams, in rounds without slow readers and with them, in turn."""
    played: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="nock-bench-") as name,
        running(Path(name), pause=pause) as ground,
        targets.nock(ground.folder, ground.database_url, ground.engine_url, ground.key, environment=ROOMY) as target,
    ):
        load = ["--in-flight=16", "--seconds=5", "--stream", "--tokens=50"]
        run(target, load)
        for _ in range(rounds):
            without = run(target, load)
            with slow_readers(target):
                settle(lambda: {"all": target.cpu_seconds(), **ground.bystanders.cpu_seconds()}, FILL_SECONDS)
                beside = run(target, load)
                resident = target.processes[0].memory_info().rss / 2**20
            played.append({"without": without, "beside": beside, "resident_mb": resident})
    ratios = {
        share: statistics.median(one["beside"]["gap"][share] / one["without"]["gap"][share] for one in played)
        for share in ("p50", "p99")
    }
    return {"ratios": ratios, "rounds": played}


@contextmanager
def slow_readers(target: Target) -> Iterator[None]:
    """Clients with the smallest buffers there are, each of which reads a byte a second of a long stream."""
    over = threading.Event()
    where = urlsplit(target.url)
    sockets = []
    for _ in range(SLOW_READERS):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.connect((where.hostname, where.port))
        body = Conversation(Manner(target.model, 1, LONG, stream=True, named=target.named)).body()
        head = (
            f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {target.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        sockets.append(connection)

    def read() -> None:
        while not over.wait(1.0):
            for connection in sockets:
                connection.recv(1)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        over.set()
        reading.join()
        for connection in sockets:
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=2_000)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two events of the many streams")
    parser.add_argument("--tokens", type=int, default=20, help="of each of them")
    parser.add_argument("--rounds", type=int, default=5, help="without slow readers and with them")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    at_once = many(given.streams, given.pause, given.tokens)
    slow = beside_slow_readers(given.rounds, 0.01)
    given.out.write_text(json.dumps({"many": at_once, "slow_readers": slow}, indent=1) + "\n")
    print(f"{given.streams:,} streams at once, an event every {given.pause:g} s:")
    for name, of in at_once.items():
        first, gap = of["first_event"], of["gap"]
        print(f"  {name:<8} first event p50 {first['p50']:.0f} ms, p99 {first['p99']:.0f}; gap p99 {gap['p99']:.0f}")
    ratios = slow["ratios"]
    print(
        f"gaps beside {SLOW_READERS} slow readers over those without: p50 {ratios['p50']:.2f}, p99 {ratios['p99']:.2f}"
    )


if __name__ == "__main__":
    main()

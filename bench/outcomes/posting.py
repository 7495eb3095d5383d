"""So many clients that post outcomes over kept connections, as a process of its own that costs little itself."""

import argparse
import asyncio
import time
from itertools import count
from urllib.parse import urlsplit

import uvloop

from bench.outcomes.measured import Measured


class Clients:
    """Takes the next outcome and posts it, until time is up."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._numbers = count(given.first)
        self._measured = Measured(entries_each=given.batch or 1)
        self._until = time.perf_counter() + given.seconds
        path = "/feedback/batch" if given.batch else "/feedback"
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {urlsplit(given.url).netloc}\r\nAuthorization: Bearer {given.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    async def run(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self._given.in_flight)))
        self._measured.print()

    async def _one(self) -> None:
        where = urlsplit(self._given.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 22)
        while time.perf_counter() < self._until:
            body = self._body()
            started = time.perf_counter()
            writer.write(self._head + b"%d\r\n\r\n" % len(body) + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            told = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            self._measured.latencies.append(time.perf_counter() - started)
            expected = self._given.batch or 1
            stored = told.count(b'"status":201') if self._given.batch else int(head.startswith(b"http/1.1 201"))
            if stored != expected:
                raise SystemExit(f"{stored} of {expected} stored: {head[:40]!r} {told[:300]!r}")
        writer.close()

    def _body(self) -> bytes:
        if not self._given.batch:
            return self._outcome(next(self._numbers))
        return b'{"entries":[%s]}' % b",".join(self._outcome(next(self._numbers)) for _ in range(self._given.batch))

    def _outcome(self, number: int) -> bytes:
        ending = b',"final":true' if self._given.final else b""
        return b'{"conversation_id":"c-%d","value":0.5,"source":"crm","idempotency_key":"crm-%d"%s}' % (
            number % self._given.conversations,
            number,
            ending,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--batch", type=int, default=0, help="entries a request; 0 posts single ones")
    parser.add_argument("--final", action="store_true")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first", type=int, required=True, help="number of the first outcome: no two runs share one")
    parser.add_argument("--conversations", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(Clients(given).run())


if __name__ == "__main__":
    main()

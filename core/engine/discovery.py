"""Find out where engines are, again and again: names are resolved and files read as they are now. Knows no engine."""

import asyncio
import socket
from collections.abc import Sequence

import structlog

from core.domain.engine_sources import Listed, Resolved, Source, Written, parse_lines

log = structlog.get_logger()

RESOLVE_SECONDS = 5.0
"""How long to wait for a name server; the last answer stays meanwhile."""


class Discovery:
    """A source that fails keeps what it said last: a name server that is away takes no engine out."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._last: dict[Source, Sequence[str]] = {}
        self._wrong: dict[Source, str] = {}

    async def find(self) -> list[str]:
        """The engines' base addresses, each once."""
        found = await asyncio.gather(*(self._ask(source) for source in self._sources))
        return list(dict.fromkeys(url for urls in found for url in urls))

    async def _ask(self, source: Source) -> Sequence[str]:
        try:
            self._last[source] = await _read(source)
        except (OSError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            if self._wrong.get(source) != why:  # once, not each second
                log.error("engines not found", source=str(source), why=why)
            self._wrong[source] = why
        else:
            self._wrong.pop(source, None)
        return self._last.get(source, ())


async def _read(source: Source) -> Sequence[str]:
    match source:
        case Listed(url):
            return [url]
        case Written(path):
            return parse_lines(await asyncio.to_thread(path.read_text))
        case Resolved(host, port):
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = sorted({str(address[0]) for *_, address in found})
            return [f"http://[{one}]:{port}" if ":" in one else f"http://{one}:{port}" for one in addresses]

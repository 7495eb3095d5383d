"""How a deployment says where its engines are: a list, a DNS name, a file. Knows no network and reads no file."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Listed:
    """An engine's base address."""

    url: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """A name whose every address is an engine."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Written:
    """A file that lists them, and may change."""

    path: Path


Source = Listed | Resolved | Written


def parse_sources(text: str) -> tuple[Source, ...]:
    """The entries between the commas. Raises ValueError that names the one that makes no sense."""
    return tuple(_parse(entry.strip()) for entry in text.split(",") if entry.strip())


def parse_lines(text: str) -> list[str]:
    """The addresses in a file: one a line, and what follows a `#` is a comment.

    Raises ValueError for a line that is none, and for a file without any: it is being written, or was cut.
    """
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    urls = [_plain_url(line) for line in lines if line]
    if not urls:
        raise ValueError("it names no engine")
    return urls


def _parse(entry: str) -> Source:
    kind, _, rest = entry.partition(":")
    match kind:
        case "file":
            parts = urlsplit(entry)
            if parts.netloc or not parts.path.startswith("/"):
                raise ValueError(f"{entry!r} is no file: write file:///etc/nock/engines.txt, with three slashes")
            return Written(Path(parts.path))
        case "dns+http":
            name = re.fullmatch(r"//([^\s/:?#@]+):(\d{1,5})/?", rest)
            if not name:
                raise ValueError(f"{entry!r} is no name of engines: write dns+http://engines:8000")
            return Resolved(name[1], int(name[2]))
        case _:
            return Listed(_plain_url(entry))


def _plain_url(text: str) -> str:
    """An engine's base address without a slash at its end."""
    url = text.rstrip("/")
    if not re.fullmatch(r"https?://([^\s/?#@:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[^\s?#]*)?", url):
        raise ValueError(f"{text!r} is no address of an engine: write http://engine:8000")
    if url.endswith("/v1"):
        raise ValueError(f"{text!r} is no base address: write it without /v1")
    return url

"""Take an upload apart while it arrives: two files to the disk, a few short fields; knows nothing of what they mean.

The framework's own forms would keep a file in memory or in /tmp; an adapter may be larger than either.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.domain.errors import InvalidRequestError, InvalidValueError
from core.rollouts.loading import CONFIGURATION, WEIGHTS

FILES = (CONFIGURATION, WEIGHTS)
FIELDS = ("sha256", "name", "base_model")
MOST_BYTES = {CONFIGURATION: 1024 * 1024, "sha256": 64, "name": 1024, "base_model": 1024}
"""The largest part of each name; the weights may be as large as the body."""
BLOCK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Received:
    """What came: the files lie in the folder."""

    configuration: bytes = b""
    sha256: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def boundary_of(content_type: str | None) -> bytes:
    """Raises InvalidValueError for anything but a form with files."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidValueError(f"Send {' and '.join(FILES)} as multipart/form-data.", code="not_multipart")
    return boundary


async def receive(
    chunks: AsyncIterator[bytes], boundary: bytes, folder: Path, between: Callable[[], Awaitable[None]]
) -> Received:
    """Write the files into the folder; `between` is awaited after each block.

    Raises InvalidValueError for a part that is none of ours, is given twice, too large or missing, and
    InvalidRequestError for a body that is no form.
    """
    with _Receiver(folder, boundary) as receiver:
        waiting = bytearray()
        async for chunk in chunks:
            waiting += chunk
            if len(waiting) >= BLOCK_BYTES:
                await asyncio.to_thread(receiver.take, bytes(waiting))
                waiting.clear()
                await between()
        await asyncio.to_thread(receiver.take, bytes(waiting))
        return receiver.finish()


class _Receiver:
    """The parser with what it has found. Its methods write to the disk: they are called in a thread."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self._small: dict[str, bytearray] = {}
        self._header = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._part = ""
        self._weights: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._is_whole = False
        self._open = ExitStack()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._open_part,
                    "on_part_data": self._write,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidRequestError("The boundary of the form is too long.") from error

    def __enter__(self) -> "_Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequestError("The body is no form as multipart/form-data prescribes.") from error

    def finish(self) -> Received:
        if not self._is_whole:
            raise InvalidRequestError("The body ends before its form does.")
        self._open.close()
        for name in FILES:
            if not self._sizes.get(name):
                raise InvalidValueError(f"The form lacks {name}.", param=name)
        configuration = bytes(self._small[CONFIGURATION])
        (self._folder / CONFIGURATION).write_bytes(configuration)
        fields = {name: _text(name, self._small[name]) for name in FIELDS if self._small.get(name)}
        return Received(configuration, self._hash.hexdigest(), fields)

    def _begin(self) -> None:
        self._headers = {}

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = bytearray(), bytearray()

    def _open_part(self) -> None:
        """What a part is says its name. A file name must say the same; neither becomes part of a path."""
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in (*FILES, *FIELDS) or options.get(b"filename", name.encode()) != name.encode():
            raise InvalidValueError(f"The form may hold {', '.join((*FILES, *FIELDS))} and nothing else.", param="body")
        if name in self._sizes:
            raise InvalidValueError(f"The form holds {name} twice.", param=name)
        self._part, self._sizes[name] = name, 0
        if name == WEIGHTS:
            self._weights = self._open.enter_context((self._folder / WEIGHTS).open("xb"))
        else:
            self._small[name] = bytearray()

    def _write(self, data: bytes, start: int, end: int) -> None:
        name = self._part
        self._sizes[name] += end - start
        if name != WEIGHTS:
            if self._sizes[name] > MOST_BYTES[name]:
                raise InvalidValueError(f"{name} is longer than {MOST_BYTES[name]} bytes.", param=name)
            self._small[name] += data[start:end]
            return
        assert self._weights is not None
        piece = memoryview(data)[start:end]
        self._weights.write(piece)
        self._hash.update(piece)

    def _end(self) -> None:
        self._is_whole = True


def _text(name: str, value: bytearray) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"{name} is not UTF-8.", param=name) from error
    if "\x00" in text:
        raise InvalidValueError(f"{name} must not hold a NUL character.", param=name)
    return text

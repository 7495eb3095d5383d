"""Lines out of bytes that come in pieces of any size; knows nothing of what they say."""

from collections.abc import Iterator

from core.domain.errors import EngineError

MOST_LINE_BYTES = 8 * 1024 * 1024
"""The longest line of a stream: one event with a long prompt's token ids."""


class Lines:
    """Keeps the beginning of a line until its end has come."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._length = 0

    def add(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in `data`, without their ends. Raises EngineError for one that is too long."""
        first, *others = data.split(b"\n")
        self._begun.append(first)
        self._length += len(first)
        if self._length > MOST_LINE_BYTES:
            raise EngineError("The engine sent a line without end.")
        for begun in others:
            yield self.rest()
            self._begun = [begun]
            self._length = len(begun)

    def rest(self) -> bytes:
        """What has come since the last end of a line."""
        line = self._begun[0] if len(self._begun) == 1 else b"".join(self._begun)
        self._begun, self._length = [], 0
        return line

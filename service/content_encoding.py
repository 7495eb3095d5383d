"""Bodies that come compressed: unpacked as they arrive, and never further than somebody will read."""

import zlib
from collections.abc import Iterable

from core.domain.errors import InvalidRequestError, UnsupportedEncodingError

GZIP, ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
WINDOWS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": ZLIB}
TAKEN = "gzip, deflate"


class Unpacking:
    """One body on its way through zlib. Its memory is zlib's window and what it is asked for."""

    def __init__(self, window: int) -> None:
        self._inflating = zlib.decompressobj(window)

    def unpack(self, packed: bytes, most: int) -> bytes:
        """What these bytes hold, cut at `most` bytes, which is at least 1. Raises InvalidRequestError."""
        try:
            plain = self._inflating.decompress(packed, most)
        except zlib.error as error:
            raise _damaged() from error
        if self._inflating.unused_data:
            raise _damaged()
        return plain

    def end(self) -> None:
        """Raises InvalidRequestError where the body broke off."""
        if not self._inflating.eof:
            raise _damaged()


def find_unpacking(headers: Iterable[tuple[bytes, bytes]]) -> Unpacking | None:
    """None for a body that comes as it is. Raises UnsupportedEncodingError for what is not taken."""
    given = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin-1")
    names = [name for part in given.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in WINDOWS:
        raise UnsupportedEncodingError(f"A body comes plain or as one of {TAKEN}.", param="Content-Encoding")
    return Unpacking(WINDOWS[names[0]])


def _damaged() -> InvalidRequestError:
    return InvalidRequestError("The body is not what its Content-Encoding says.", code="invalid_encoding")

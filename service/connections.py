"""Connections within bounds: what a client may send before it has said who it is, and how long it may take.

uvicorn bounds neither. Whoever opened connections and sent a byte now and then, or read none, would hold them all, with
the places for requests that Capacity counts. A proxy in front usually has such bounds too; these need none.
"""

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from core.domain.errors import InvalidRequestError
from service.errors import error_body
from service.hanging_up import HANG_UP, HangUp

TOO_LARGE = "The head of the request is too large."


class BoundedConnection(HttpToolsProtocol):
    """One client's connection."""

    most_head_bytes = 64 * 1024
    """Of a request: its target and all its headers."""

    pace_seconds = 30.0
    """In each such time of a request that is not complete `pace_bytes` must arrive."""

    pace_bytes = 16 * 1024

    unread_seconds = 60.0
    """How long a client may leave its answer unread while we hold more of it than goes into our buffer."""

    url = b""
    _is_awaiting_head = True
    _head_bytes = 0
    _arrived = 0
    _pacing: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._hang_up = HangUp()
        self._begin_idling()

    def data_received(self, data: bytes) -> None:
        self._arrived += len(data)
        if self._is_awaiting_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > self.most_head_bytes:
            self.send_400_response(TOO_LARGE)
        elif self._is_awaiting_head and not self._head_bytes:
            self._end_pacing()
            if not self._is_answering():  # the body of a request that was answered at its head
                self._begin_idling()
        elif self._pacing is None:
            self._begin_pacing()

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.most_head_bytes:
            raise ValueError(TOO_LARGE)  # the parser passes it on, and uvicorn answers 400
        self._is_awaiting_head = False
        self._head_bytes = 0
        self.scope[HANG_UP] = self._hang_up  # type: ignore[literal-required]  # a name of ours
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """In JSON, as every error."""
        told = TOO_LARGE if self._head_bytes > self.most_head_bytes else msg
        body = orjson.dumps(error_body(self.url.decode("latin-1"), 400, InvalidRequestError.code, told, None))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        self.transport.write(STATUS_LINE[400] + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + body)
        self.transport.close()

    def on_message_complete(self) -> None:
        self._is_awaiting_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_pacing()
        self._end_waiting()
        self._hang_up.happen()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begin_idling(self) -> None:
        """Until the next byte, which ends it, or the end of the time that an idle connection is kept."""
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _begin_pacing(self) -> None:
        self._arrived = 0
        self._pacing = self.loop.call_later(self.pace_seconds, self._check_pace)

    def _check_pace(self) -> None:
        """Cut who is too slow; not who waits for us, to read on or to answer a request that is complete."""
        is_waiting = self.flow.read_paused or (self._is_awaiting_head and self._is_answering())
        if self._arrived < self.pace_bytes and not is_waiting:
            self.transport.abort()
        else:
            self._begin_pacing()

    def _end_pacing(self) -> None:
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None

    def _end_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

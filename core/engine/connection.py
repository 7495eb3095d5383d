"""One HTTP/1.1 connection to an engine: what goes out, what comes back, what breaks. Knows nothing of what is asked."""

import asyncio
from collections.abc import Iterable
from typing import cast

import httptools

from core.domain.errors import EngineError, EngineSilentError, EngineTimeoutError

MOST_HEAD_BYTES = 64 * 1024
"""Of an answer: its status line and headers."""

MOST_WHOLE_BYTES = 64 * 1024 * 1024
"""Of an answer that is kept whole. A token of a reply with 20 alternatives beside it takes some 1,600 bytes: these are
40,000 tokens, which no engine samples for one request within the two minutes that a reply may take. A longer one can be
streamed."""

MOST_UNREAD_BYTES = 256 * 1024
"""Of an answer that is read as it comes: while more is unread, nothing more is taken off the network."""


class Connection(asyncio.Protocol):
    """Carries one request at a time. Each failure comes as an error of ours to whoever reads the answer."""

    def __init__(self) -> None:
        self.status = 0
        """Of the answer, once its head is there."""
        self.is_complete = True
        self.is_lost = False
        self.last_used = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._unread = 0
        self._head_bytes = 0
        self._has_length = False
        self._is_paused = False
        self._keeps_alive = True
        self._heard_at = 0.0
        self._failure: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._silence: asyncio.TimerHandle | None = None

    def send(self, request: Iterable[bytes], deadline: float, silence: float | None) -> None:
        """Ask. The answer is whole by `deadline` on the loop's clock and pauses for at most `silence` seconds, or fails
        with EngineTimeoutError or EngineSilentError."""
        self.status = self._unread = self._head_bytes = 0
        self.is_complete = self._has_length = False
        self._chunks = []
        self._heard_at = self._loop.time()
        self._deadline = self._loop.call_at(deadline, self._run_out)
        if silence is not None:
            self._silence = self._loop.call_later(silence, self._check_silence, silence)
        self._transport.writelines(request)

    async def whole(self) -> bytes:
        """The answer's body."""
        while not self.is_complete:
            await self._news()
            if self._unread > MOST_WHOLE_BYTES:
                self.fail(EngineError("The engine sent more than any answer has."))
        return b"".join(self._chunks)

    async def head(self) -> None:
        """Return when the status is known."""
        while not self.status:
            await self._news()

    async def more(self) -> bytes:
        """What has come of the body since it was last asked for; nothing at its end."""
        while not self._chunks and not self.is_complete:
            await self._news()
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        return data

    @property
    def is_idle(self) -> bool:
        """Whether it may carry another request."""
        return self.is_complete and self._keeps_alive and not self.is_lost and not self._transport.is_closing()

    def fail(self, error: EngineError) -> None:
        """End it with what whoever waits for the answer is to be told; one that is whole stays so."""
        if not self.is_complete and self._failure is None:
            self._failure = error
        self.abort()
        self._wake()

    def abort(self) -> None:
        """Close it now. An engine that is still at work for it takes that as its sign to stop."""
        self.is_lost = True
        self._stop_clocks()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self.is_complete:  # nobody asked
            self.abort()
            return
        self._heard_at = self._loop.time()
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break()
            return
        if not self.status and self._head_bytes > MOST_HEAD_BYTES:
            self._break()
            return
        if self._unread > MOST_UNREAD_BYTES and self._waiter is None and not self.is_complete:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self.status and not self._has_length and exc is None and self._failure is None:
            self._complete()  # its end is the answer's end
            self._wake()
        else:
            self._break()

    def on_message_begin(self) -> None:
        if self.is_complete:  # in the same bytes as the end of the answer: nobody asked for another
            raise EngineError("The engine answered twice.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # below, the answer is still to come
            self.status = status

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        if self.status:
            self._keeps_alive = self._parser.should_keep_alive()
            self._complete()

    async def _news(self) -> None:
        """Wait for the next of the answer."""
        if self._failure is not None:
            raise self._failure
        if self._is_paused:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _complete(self) -> None:
        self.is_complete = True
        self._stop_clocks()

    def _stop_clocks(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _run_out(self) -> None:
        self.fail(EngineTimeoutError("The engine took too long."))

    def _check_silence(self, silence: float) -> None:
        """While nobody reads, it is not the engine that is silent."""
        left = silence if self._is_paused else self._heard_at + silence - self._loop.time()
        if left > 0:
            self._silence = self._loop.call_later(left, self._check_silence, silence)
        else:
            self.fail(EngineSilentError("The engine has said nothing for too long."))

    def _break(self) -> None:
        self.fail(EngineError("The engine broke the connection."))

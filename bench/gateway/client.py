"""One connection of the load: says the next turn as soon as the one before was answered, and notes how long it took."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import httptools
import orjson

from bench.gateway.conversation import Conversation, Manner
from bench.gateway.engine import reply

DONE = b"data: [DONE]\n\n"
FINISH = b'"stop"'
"""What the event that ends a reply says, and no other."""


@dataclass(slots=True)
class Heard:
    """What all connections of a load noted; times in seconds."""

    first_turns: list[float] = field(default_factory=list)
    later_turns: list[float] = field(default_factory=list)
    first_events: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    """Between two pieces of a stream: an event each, unless several came at once."""
    chunk_costs: list[float] = field(default_factory=list)
    """By stream, from the first event to the last, over the events between."""
    ids: list[str] = field(default_factory=list)
    """Of the replies that were received whole."""
    events: int = 0
    cut: int = 0
    """Replies that broke off, which only a killed gateway may do."""


class Client(asyncio.Protocol):
    """Speaks until it is told to stop; `ended` is done when its last reply has come or the connection is gone."""

    def __init__(self, head: bytes, manner: Manner, heard: Heard, *, until: float, turns: int | None = None) -> None:
        self._head, self._manner, self._heard, self._until = head, manner, heard, until
        self._turns_left = turns
        self._conversation = Conversation(manner)
        self._pieces: list[bytes] = []
        self._began = self._first = self._last = 0.0
        self._waits = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._parser = httptools.HttpResponseParser(self)
        self._say()

    def _say(self) -> None:
        if self._conversation.is_over:
            self._conversation = Conversation(self._manner)
        body = self._conversation.body()
        self._pieces.clear()
        self._first, self._waits = 0.0, True
        self._began = time.perf_counter()
        self._transport.write(self._head + b"%d\r\n\r\n" % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        if self._manner.stream:
            now = time.perf_counter()
            if self._first:
                self._heard.gaps.append(now - self._last)
            else:
                self._first = now
            self._last = now

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        told = b"".join(self._pieces)
        if self._parser.get_status_code() != 200:
            self._refuse(told)
        elif self._manner.stream:
            self._end_stream(told, now)
        else:
            whole = orjson.loads(told)
            self._take(whole["id"], whole["choices"][0]["message"]["content"], now)

    def _end_stream(self, told: bytes, now: float) -> None:
        if not told.endswith(DONE) or FINISH not in told or told.count(b"word ") != self._manner.tokens:
            self._refuse(told)
            return
        count = told.count(b"\n\n")
        self._heard.events += count
        self._heard.first_events.append(self._first - self._began)
        self._heard.chunk_costs.append((self._last - self._first) / (count - 1))
        self._take(id_of(told), reply(self._manner.tokens), now)

    def _take(self, id: str, said: str, now: float) -> None:
        heard, conversation = self._heard, self._conversation
        self._waits = False
        (heard.later_turns if conversation.turn else heard.first_turns).append(now - self._began)
        heard.ids.append(id)
        conversation.hear(said)
        if self._turns_left is not None:
            self._turns_left -= 1
        if now < self._until and self._turns_left != 0:
            self._say()
        else:
            self._transport.close()

    def _refuse(self, told: bytes) -> None:
        self._waits = False
        self.refused = f"status {self._parser.get_status_code()}: {told[-400:]!r}"
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        told = b"".join(self._pieces)
        if self._waits and self._manner.stream and FINISH in told:
            self._heard.ids.append(id_of(told))  # many clients stop reading there: to them it was whole
        elif self._waits:
            self._heard.cut += 1
        if not self.ended.done():
            self.ended.set_result(None)


def id_of(told: bytes) -> str:
    """The reply's id, as a stream's first event says it."""
    first = told[len(b"data: ") : told.index(b"\n\n")]
    return str(orjson.loads(first)["id"])

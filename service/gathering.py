"""Requests of one moment share round trips and a commit; knows nothing of what they ask."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from opentelemetry.trace import Span
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core import tracing
from service import metrics

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

WRITERS = 2
"""Transactions open at once: while one waits for Postgres another computes."""
MOST = 100
"""Requests that share one: what they lock stays locked until the last of them is written."""

AWAY = ("08", "53300", "57")
"""SQLSTATEs: the connection failed, there are too many, Postgres was told to end it."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    kind: Hashable
    answer: asyncio.Future[Answered]
    span: Span


class Gathering(Generic[Asked, Answered]):
    """Nobody waits for company: what arrives while all writers are busy is what the next of them takes.

    `name` is what metrics and spans call it. `answer` answers several, in order and in one transaction; those of one
    `kind` only, where that is given.
    """

    def __init__(
        self,
        name: str,
        answer: Callable[[Sequence[Asked]], Awaitable[Sequence[Answered]]],
        kind: Callable[[Asked], Hashable] | None = None,
    ) -> None:
        self.name = name
        self._shared_by = metrics.GATHERED.labels(name)
        self._answer = answer
        self._kind = kind
        self._waiting: list[_Waiting[Asked, Answered]] = []
        self._writers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        """Of the writers that have nothing to do, each to be woken."""
        self._is_ending = False

    @property
    def waiting(self) -> int:
        """Requests that no writer has taken yet."""
        return len(self._waiting)

    async def ask(self, asked: Asked) -> Answered:
        """The answer, after the commit of the transaction that it was given in."""
        kind = None if self._kind is None else self._kind(asked)
        with tracing.span(self.name) as span:
            waiting: _Waiting[Asked, Answered] = _Waiting(asked, kind, asyncio.get_running_loop().create_future(), span)
            self._waiting.append(waiting)
            if self._idle:
                self._idle.pop().set_result(None)
            elif len(self._writers) < WRITERS:
                # It works for all: neither its spans nor its lines in the log are of who happened to begin it.
                writer = asyncio.create_task(self._write(), context=contextvars.Context())
                self._writers.add(writer)
                writer.add_done_callback(self._writers.discard)
            return await waiting.answer

    async def finish(self) -> None:
        """Return when all that was asked is answered, though nobody waits for it any more."""
        self._is_ending = True
        while self._idle:
            self._idle.pop().set_result(None)
        while self._writers:
            await asyncio.wait(self._writers)
        self._is_ending = False

    async def _write(self) -> None:
        # Between finding nobody and lying down lies no await: whoever comes then finds it idle.
        while True:
            while self._waiting:
                await self._share(self._next())
            if self._is_ending:
                return
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle

    def _next(self) -> list[_Waiting[Asked, Answered]]:
        """The first in line, with those of its kind."""
        if self._kind is None:
            together, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            return together
        kind = self._waiting[0].kind
        together = [one for one in self._waiting if one.kind == kind][:MOST]
        taken = set(map(id, together))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        return together

    async def _share(self, together: Sequence[_Waiting[Asked, Answered]]) -> None:
        self._shared_by.observe(len(together))
        try:
            with tracing.span_for_all(f"{self.name} together", [one.span for one in together]):
                answers = await self._answer([one.asked for one in together])
        except Exception as error:
            if len(together) > 1 and not _is_away(error):
                for one in together:  # what Postgres cannot take of one spoils no other
                    await self._share([one])
                return
            for one in together:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, answer in zip(together, answers, strict=True):
            if not one.answer.done():  # it is, where the client has gone
                one.answer.set_result(answer)


def _is_away(error: Exception) -> bool:
    """Whether Postgres is at fault: then each one's own try would fail too, one time-out after the other."""
    if isinstance(error, DBAPIError) and not error.connection_invalidated:
        state = getattr(error.orig, "sqlstate", None)
        # What it says itself is of the statement: too large a value is an "operational error" too.
        return isinstance(error, OperationalError) and (state is None or state.startswith(AWAY))
    return isinstance(error, DBAPIError | PoolTimeoutError | OSError)

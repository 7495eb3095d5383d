"""Requests of one moment share a transaction, and so its round trips and its commit; knows nothing of what they ask."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.keys import Key
from core.storage.database import Database

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

WRITERS = 2
"""Transactions open at once: while one waits for Postgres another computes, and a locked row holds up only its own."""
MOST = 100
"""Requests that share one: what they lock stays locked until the last of them is written."""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Asked, Answered]):
    key: Key
    asked: Asked
    answer: asyncio.Future[Answered]


class Gathering(Generic[Asked, Answered]):
    """Nobody waits for company: what arrives while all writers are busy is what the next transaction holds."""

    def __init__(
        self,
        database: Database,
        answer: Callable[[AsyncSession, Key, Sequence[Asked]], Awaitable[Sequence[Answered]]],
    ) -> None:
        self._database = database
        self._answer = answer
        self._waiting: list[_Waiting[Asked, Answered]] = []
        self._writing = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, key: Key, asked: Asked) -> Answered:
        """The answer, after the commit of the transaction that it was given in."""
        waiting: _Waiting[Asked, Answered] = _Waiting(key, asked, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing < WRITERS:
            self._writing += 1
            task = asyncio.create_task(self._write())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        return await waiting.answer

    async def _write(self) -> None:
        # Between finding nobody and stepping back lies no await: whoever comes then finds a writer missing.
        try:
            while self._waiting:
                await self._share(self._next())
        finally:
            self._writing -= 1

    def _next(self) -> list[_Waiting[Asked, Answered]]:
        """The first in line, with those of the same key."""
        key = self._waiting[0].key
        together = [one for one in self._waiting if one.key == key][:MOST]
        taken = set(map(id, together))
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        return together

    async def _share(self, together: Sequence[_Waiting[Asked, Answered]]) -> None:
        try:
            async with self._database.transaction() as session:
                answers = await self._answer(session, together[0].key, [one.asked for one in together])
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
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | PoolTimeoutError | OSError)

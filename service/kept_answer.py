"""What many ask of Postgres, asked once for all of them: one look-up at a time, its answer kept for a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

KEPT_SECONDS = 1.0

Answer = TypeVar("Answer")


class KeptAnswer(Generic[Answer]):
    """For whoever has no key: however many of them ask, they hold one connection."""

    def __init__(self, look_up: Callable[[], Awaitable[Answer]]) -> None:
        self._look_up = look_up
        self._lock = asyncio.Lock()
        self._kept: tuple[float, Answer] | None = None

    async def get(self) -> Answer:
        async with self._lock:
            if self._kept is None or time.monotonic() >= self._kept[0] + KEPT_SECONDS:
                answer = await self._look_up()
                self._kept = time.monotonic(), answer
            return self._kept[1]

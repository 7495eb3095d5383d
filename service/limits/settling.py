"""Tell Redis what a request took: when it ends or, where Redis does not answer then, as soon as it does again."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from service import metrics
from service.limits.counting import (
    MINUTE_SECONDS,
    REST_SECONDS,
    Counting,
    CountingUnavailableError,
    UnansweredError,
)
from service.limits.meters import Kind, Meter

DAY_SECONDS = 86_400.0
MOST_OWED = 10_000
"""Requests, while Redis does not answer. Of more the oldest are given up: their places fall free before the others'."""


@dataclass(frozen=True, slots=True)
class Owed:
    """What Redis is to be told of one request."""

    meters: Sequence[Meter]
    request: str
    tokens: int
    ended: float

    def due(self, now: float) -> "Owed":
        """Without the tokens whose minute or day is over: counted now they would be another's."""
        over = set()
        if now - self.ended >= MINUTE_SECONDS:
            over.add(Kind.TOKENS)
        if now // DAY_SECONDS != self.ended // DAY_SECONDS:
            over.add(Kind.BUDGET)
        return replace(self, meters=[meter for meter in self.meters if meter.kind not in over])


class Settling:
    def __init__(self, counting: Counting, *, most: int = MOST_OWED) -> None:
        self._counting = counting
        self._owed: deque[Owed] = deque()
        self._most = most
        self._telling_late: asyncio.Task[None] | None = None

    async def settle(self, meters: Sequence[Meter], request: str, *, tokens: int) -> None:
        """Count the tokens and give the request's places back, now or later. Raises nothing."""
        with suppress(CountingUnavailableError):
            await self._tell(Owed(meters, request, tokens, time.time()))

    def give_back(self, meters: Sequence[Meter], request: str) -> None:
        """See to it that the request holds no place, whatever Redis does yet of what it was asked."""
        if places := [meter for meter in meters if meter.kind is Kind.PLACES]:
            self._owe(Owed(places, request, 0, time.time()))

    async def close(self) -> None:
        if self._telling_late is not None:
            self._telling_late.cancel()
            with suppress(asyncio.CancelledError):
                await self._telling_late

    async def _tell(self, owed: Owed) -> None:
        try:
            await self._counting.settle(owed.meters, owed.request, tokens=owed.tokens)
        except UnansweredError:  # it counts the tokens or has counted them; only a place may be given back twice
            self.give_back(owed.meters, owed.request)
            raise
        except CountingUnavailableError:
            self._owe(owed)
            raise

    def _owe(self, owed: Owed) -> None:
        if not self._counting.has_address:
            return
        self._owed.append(owed)
        if len(self._owed) > self._most:
            self._owed.popleft()
            metrics.LIMITS_UNAVAILABLE.inc()
        if self._telling_late is None or self._telling_late.done():
            self._telling_late = asyncio.ensure_future(self._tell_late())

    async def _tell_late(self) -> None:
        while self._owed:
            await asyncio.sleep(REST_SECONDS)
            with suppress(CountingUnavailableError):
                await self._counting.settle((), "", tokens=0)  # answered after all that it was asked before
                while self._owed:
                    await self._tell(self._owed.popleft().due(time.time()))

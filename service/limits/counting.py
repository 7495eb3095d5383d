"""Redis as it counts for limits: asked once, answered within a moment, left alone for a second when it does not."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.limits.meters import Meter

log = structlog.get_logger()

SCRIPT = Path(__file__).with_name("count.lua").read_text()
MINUTE_SECONDS = 60.0
ANSWER_SECONDS = 0.1
"""A request waits no longer for Redis: a Redis that hangs must not hang chat."""
REST_SECONDS = 1.0
"""How long Redis is not asked again after it failed: else each request would wait for it in turn."""
LATE_ROUNDS = 5
"""Of the event loop, when that time is over: where the loop itself was held up, the answer is there and to be read."""
CONNECTIONS = 32


class CountingUnavailableError(Exception):
    """Redis does not answer now."""


class UnansweredError(CountingUnavailableError):
    """It was asked and has not answered in time: it may have done what it was asked, or do it yet."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter said before the request: whether it is short of room, and the seconds until it has some again, and
    until it stands at nought."""

    meter: Meter
    is_short: bool
    used: int
    room_in: float
    unused_in: float


class Counting:
    """Without an address it is an outage that never ends."""

    def __init__(
        self, url: str | None, *, answer_seconds: float = ANSWER_SECONDS, minute_seconds: float = MINUTE_SECONDS
    ) -> None:
        self._redis = None if url is None else _connect(url)
        self._script = None if self._redis is None else self._redis.register_script(SCRIPT)
        self._answer_seconds = answer_seconds
        self._minute = int(minute_seconds * 1e6)
        self._rests_until = 0.0
        self._is_away = False

    @property
    def has_address(self) -> bool:
        return self._redis is not None

    async def admit(
        self, meters: Sequence[Meter], request: str, *, requests: int, longest_seconds: float
    ) -> list[Reading]:
        """Count the request on every meter, or on none where one of them is short."""
        rows = await self._call("admit", meters, request, requests, longest_seconds)
        return [
            Reading(meter, bool(short), used, wait / 1e6, unused / 1e6)
            for meter, (short, used, wait, unused) in zip(meters, rows, strict=True)
        ]

    async def settle(self, meters: Sequence[Meter], request: str, *, tokens: int) -> None:
        """Count the tokens, and give the request's places back."""
        await self._call("settle", meters, request, tokens, 0.0)

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    async def _call(
        self, verb: str, meters: Sequence[Meter], request: str, amount: int, longest_seconds: float
    ) -> list[list[int]]:
        if self._script is None or time.monotonic() < self._rests_until:
            raise self._away(CountingUnavailableError("no address" if self._script is None else "it rests"))
        arguments: list[str | int] = [verb, request, amount, int(longest_seconds * 1e6), self._minute]
        for meter in meters:
            arguments += [meter.kind.value, meter.limit]
        asking = asyncio.ensure_future(self._script([meter.name for meter in meters], arguments))
        try:
            await asyncio.wait({asking}, timeout=self._answer_seconds)
            for _ in range(LATE_ROUNDS):
                if not asking.done():
                    await asyncio.sleep(0)
        finally:
            has_answered = not asking.cancel()
        if not has_answered:
            raise self._failed(UnansweredError("no answer in time"))
        try:
            rows: list[list[int]] = asking.result()
        except (RedisError, OSError) as error:
            raise self._failed(CountingUnavailableError(type(error).__name__)) from error
        if self._is_away:
            self._is_away = False
            log.info("limits are counted again")
        return rows

    def _failed(self, error: CountingUnavailableError) -> CountingUnavailableError:
        self._rests_until = time.monotonic() + REST_SECONDS
        return self._away(error)

    def _away(self, error: CountingUnavailableError) -> CountingUnavailableError:
        if not self._is_away:
            self._is_away = True
            log.error("limits cannot be counted: redis does not answer", why=str(error))
        return error


def _connect(url: str) -> "Redis":
    """`redis+socket://` is Celery's word for what redis-py calls `unix://`. It waits for ever: `_call` does not."""
    pool = BlockingConnectionPool.from_url(
        url.replace("redis+socket://", "unix://", 1),
        max_connections=CONNECTIONS,
        timeout=None,
        socket_timeout=None,
        socket_connect_timeout=REST_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,  # greetings that a fresh connection need not wait for
    )
    return Redis.from_pool(pool)

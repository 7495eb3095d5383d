"""What a request took is counted once, though Redis does not answer at the moment when it ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis.asyncio import Redis

from core.domain.errors import LimitsUnavailableError
from core.domain.ids import new_id
from core.domain.keys import Key
from core.domain.limits import Limits
from core.domain.signatures import Signer
from core.storage import models
from service import metrics
from service.limits.counting import MINUTE_SECONDS, Counting, CountingUnavailableError
from service.limits.limiter import Limiter
from service.limits.meters import Kind, Meter
from service.limits.settling import DAY_SECONDS, Owed, Settling
from tests.fixtures.limits.own_redis import OwnRedis, own_redis
from tests.fixtures.loops import on_both_loops

SECONDS = 15.0
_names = count()


@pytest.fixture
def redis(state_folder: Path) -> Iterator[OwnRedis]:
    with own_redis(state_folder) as running:
        yield running


@pytest.fixture
async def inside(redis: OwnRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis.url.replace("redis+socket", "unix"), decode_responses=True) as client:
        yield client


@pytest.fixture
async def counting(redis: OwnRedis) -> AsyncIterator[Counting]:
    counting = Counting(redis.url)
    yield counting
    await counting.close()


@pytest.fixture
async def settling(counting: Counting) -> AsyncIterator[Settling]:
    settling = Settling(counting)
    yield settling
    await settling.close()


TOKENS, PLACES = Meter(Kind.TOKENS, 1000, "key", "tokens"), Meter(Kind.PLACES, 9, "key", "places")
BUDGET = Meter(Kind.BUDGET, 1000, "key", "budget")
METERS = [TOKENS, PLACES, BUDGET]


async def admit(counting: Counting, request: str) -> None:
    """Once it can: the machine may be busy."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await counting.admit(METERS, request, requests=1, longest_seconds=600.0)
            except CountingUnavailableError:
                await asyncio.sleep(0.1)
            else:
                return


async def counted(inside: Redis) -> tuple[int, int, int]:
    """Tokens of the minute, tokens of the day, places."""
    entries = await inside.lrange("tokens", 0, -1)
    tokens = sum(int(after) - int(before) for _, before, after in (entry.split() for entry in entries))
    return tokens, int(await inside.hget("budget", "used") or 0), await inside.zcard("places")


async def becomes(inside: Redis, expected: tuple[int, int, int]) -> None:
    until = time.monotonic() + SECONDS
    while (found := await counted(inside)) != expected:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.5)
    assert await counted(inside) == expected, "and stays so"


async def test_what_ends_while_redis_hangs_is_counted_once_when_it_goes_on(
    counting: Counting, settling: Settling, redis: OwnRedis, inside: Redis
) -> None:
    for request in "abc":
        await admit(counting, request)
    redis.hang()
    for request in "ab":  # the first is asked and not answered, the second not asked
        await settling.settle(METERS, request, tokens=70)
    await asyncio.sleep(1.5)  # it is asked again in vain
    redis.go_on()
    await becomes(inside, (140, 140, 1))


async def test_what_ends_while_redis_is_dead_is_told_to_the_next(
    counting: Counting, settling: Settling, redis: OwnRedis, inside: Redis
) -> None:
    await admit(counting, "a")
    redis.kill()
    for request in "ab":
        await settling.settle(METERS, request, tokens=70)
    redis.start()
    await becomes(inside, (140, 140, 0))


async def test_who_was_refused_for_want_of_an_answer_holds_no_place(redis: OwnRedis, inside: Redis) -> None:
    limits = Limits(requests_per_minute=9, concurrent_requests=9)
    key = Key(new_id(), frozenset(), None, None, limits)
    agent = models.Agent(name="demo", limits={})
    limiter = Limiter(Counting(redis.url), Signer("ours"), without_redis="closed", longest_seconds=600.0)
    admission = None
    while admission is None:
        try:
            admission = await limiter.admit(key, agent, None)
        except LimitsUnavailableError:
            await asyncio.sleep(0.1)
    await admission.settle(0)
    (requests,) = await inside.keys("*requests")
    before = await inside.llen(requests)
    redis.hang()
    with pytest.raises(LimitsUnavailableError):
        await limiter.admit(key, agent, None)
    redis.go_on()
    until = time.monotonic() + SECONDS
    while await inside.llen(requests) == before or await inside.keys("*places"):
        assert time.monotonic() < until, "it is counted, and holds its place for ever"
        await asyncio.sleep(0.05)
    await limiter.close()


@on_both_loops
async def test_an_answer_that_is_there_is_taken_however_late_this_process_comes_to_read_it(redis: OwnRedis) -> None:
    counting = Counting(redis.url)
    await admit(counting, "a")
    for request in "bcdef":
        asking = asyncio.create_task(counting.admit(METERS, request, requests=1, longest_seconds=600.0))
        for _ in range(10):
            await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251  # others' work
        (_, reading, _) = await asking
        assert reading.used == "abcdef".index(request)
    await counting.close()


async def test_of_too_many_the_oldest_are_given_up_and_that_is_counted(
    counting: Counting, redis: OwnRedis, inside: Redis
) -> None:
    for request in "abc":
        await admit(counting, request)
    settling = Settling(counting, most=2)
    redis.kill()
    before = metrics.LIMITS_UNAVAILABLE._value.get()
    for tokens, request in ((1, "a"), (10, "b"), (100, "c")):
        await settling.settle(METERS, request, tokens=tokens)
    assert metrics.LIMITS_UNAVAILABLE._value.get() == before + 1
    redis.start()
    await becomes(inside, (110, 110, 0))
    await settling.close()


def test_tokens_are_not_counted_in_another_minute_or_on_another_day() -> None:
    noon = 12 * 3600.0
    owed = Owed(METERS, "a", 70, noon)
    assert owed.due(noon + 1).meters == METERS
    assert owed.due(noon + MINUTE_SECONDS).meters == [PLACES, BUDGET]
    assert owed.due(noon + DAY_SECONDS).meters == [PLACES]


async def test_without_an_address_nothing_is_kept_and_nothing_is_tried() -> None:
    settling = Settling(Counting(None))
    tasks = asyncio.all_tasks()
    await settling.settle(METERS, "a", tokens=70)
    assert asyncio.all_tasks() == tasks

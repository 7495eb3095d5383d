"""Counting for limits is exact: over processes, over time, and after the death of whoever counted."""

import asyncio
import random
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from itertools import count

import pytest
from redis.asyncio import Redis

from service.limits.counting import Counting, Reading
from service.limits.meters import Kind, Meter
from tests.fixtures.waiting import eventually

PROCESSES = 3
_names = count()


@pytest.fixture
def name() -> str:
    """What no other test counts under."""
    return f"test:{next(_names)}"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(
        redis_url.replace("redis+socket", "unix"), decode_responses=True, socket_timeout=None
    ) as client:
        yield client


async def opened(redis_url: str, *, minute_seconds: float = 60.0) -> Counting:
    return Counting(redis_url, answer_seconds=10.0, minute_seconds=minute_seconds)


async def ask(
    counting: Counting, *meters: Meter, requests: int = 1, longest: float = 60.0, who: str = "x"
) -> list[Reading]:
    return await counting.admit(meters, who, requests=requests, longest_seconds=longest)


async def hammer(redis_url: str, name: str, limit: int, seconds: float, minute_seconds: float) -> int:
    """How many requests several processes got in all."""
    command = [sys.executable, "-m", "tests.fixtures.limits.hammer", redis_url, name]
    numbers = [str(number) for number in (limit, seconds, minute_seconds)]
    started = [await asyncio.create_subprocess_exec(*command, *numbers, stdout=PIPE) for _ in range(PROCESSES)]
    said = [(await process.communicate())[0] for process in started]
    return sum(map(int, said))


async def test_processes_that_hammer_at_once_get_the_limit_together_and_no_more(redis_url: str, name: str) -> None:
    assert await hammer(redis_url, name, 50, seconds=1.5, minute_seconds=60.0) == 50


async def test_no_window_ever_holds_more_than_the_limit(redis_url: str, redis: Redis, name: str) -> None:
    limit, minute = 40, 0.5
    times: list[int] = []

    async def watch() -> None:
        async with redis.monitor() as monitor:
            async for command in monitor.listen():
                found = re.match(rf"RPUSH {name} (\d+) ", command["command"])
                if found:
                    times.append(int(found[1]))

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    admitted = await hammer(redis_url, name, limit, seconds=4.0, minute_seconds=minute)
    await eventually(lambda: len(times) >= admitted)
    watching.cancel()
    assert len(times) == admitted
    assert admitted >= 6 * limit, "the window slides: room comes back"
    assert all(last - first >= minute * 1e6 for first, last in zip(times, times[limit:], strict=False))


async def test_the_wait_that_is_told_is_the_shortest_after_which_there_is_room(
    redis_url: str, redis: Redis, name: str
) -> None:
    limit, minute = 10, 0.6
    counting, meter = await opened(redis_url, minute_seconds=minute), Meter(Kind.REQUESTS, limit, "key", name)
    drawn, entries, refused = random.Random(7), [], 0
    for _ in range(60):
        cost = drawn.randint(1, 5)
        (reading,) = await ask(counting, meter, requests=cost)
        if reading.is_short:
            refused += 1
            start, *_ = await redis.lrange(name, 0, -1)
            assert 0 < reading.room_in <= minute
            needed = reading.used + cost - limit
            gone = list(takewhile_sum(await redis.lrange(name, 0, -1), needed))
            seconds, micros = await redis.time()
            told = reading.room_in - (int(gone[-1].split()[0]) / 1e6 + minute - (seconds + micros / 1e6))
            assert 0 <= told < 0.1, start
            await asyncio.sleep(reading.room_in)
            (again,) = await ask(counting, meter, requests=cost)
            assert not again.is_short
        entries.append(cost)
        await asyncio.sleep(drawn.random() * 0.04)
    assert refused > 5
    await counting.close()


def takewhile_sum(entries: list[str], needed: int) -> list[str]:
    """The oldest entries that hold as much as is needed."""
    taken: list[str] = []
    while needed > 0:
        oldest = entries[len(taken)]
        _, before, after = map(int, oldest.split())
        taken.append(oldest)
        needed -= after - before
    return taken


async def test_a_refused_request_is_counted_nowhere(redis_url: str, redis: Redis, name: str) -> None:
    counting = await opened(redis_url)
    wide, narrow = Meter(Kind.REQUESTS, 5, "key", f"{name}:wide"), Meter(Kind.REQUESTS, 1, "user", f"{name}:narrow")
    places = Meter(Kind.PLACES, 3, "key", f"{name}:places")
    await ask(counting, wide, narrow, places)
    readings = await ask(counting, wide, narrow, places, who="y")
    assert [reading.is_short for reading in readings] == [False, True, False]
    assert await redis.llen(wide.name) == 1
    assert await redis.zcard(places.name) == 1
    await counting.close()


async def test_tokens_are_let_in_below_the_limit_and_counted_at_the_end(redis_url: str, name: str) -> None:
    counting, meter = await opened(redis_url, minute_seconds=0.5), Meter(Kind.TOKENS, 100, "key", name)
    for used, is_short in ((0, False), (70, False), (140, True)):
        (reading,) = await ask(counting, meter)
        assert (reading.used, reading.is_short) == (used, is_short)
        if not is_short:
            await counting.settle([meter], "x", tokens=70)
    await asyncio.sleep(reading.room_in)
    (reading,) = await ask(counting, meter)
    assert not reading.is_short
    await counting.close()


async def test_a_budget_is_of_one_day(redis_url: str, redis: Redis, name: str) -> None:
    counting, meter = await opened(redis_url), Meter(Kind.BUDGET, 100, "key", name)
    await counting.settle([meter], "x", tokens=100)
    (reading,) = await ask(counting, meter)
    seconds, _ = await redis.time()
    assert reading.is_short
    assert reading.room_in == pytest.approx(86_400 - seconds % 86_400, abs=5)
    await redis.hset(name, "day", seconds // 86_400 - 1)
    (reading,) = await ask(counting, meter)
    assert (reading.used, reading.is_short) == (0, False)
    await counting.settle([meter], "x", tokens=3)
    assert (await ask(counting, meter))[0].used == 3
    await counting.close()


async def test_a_place_is_given_back_once_and_taken_by_the_next(redis_url: str, name: str) -> None:
    counting, meter = await opened(redis_url), Meter(Kind.PLACES, 2, "key", name)
    short = [(await ask(counting, meter, who=who))[0].is_short for who in "abc"]
    await counting.settle([meter], "a", tokens=0)
    await counting.settle([meter], "a", tokens=0)
    short += [(await ask(counting, meter, who=who))[0].is_short for who in "de"]
    assert short == [False, False, True, False, True]
    await counting.close()


async def test_the_place_of_a_killed_process_falls_free_with_its_lease(redis_url: str, name: str) -> None:
    command = [sys.executable, "-m", "tests.fixtures.limits.holder", redis_url, name, "1.0"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"held"
    process.kill()
    counting, meter = await opened(redis_url), Meter(Kind.PLACES, 1, "key", name)
    assert (await ask(counting, meter))[0].is_short
    await asyncio.sleep(1.1)
    assert not (await ask(counting, meter))[0].is_short
    await process.wait()
    await counting.close()


async def test_redis_forgets_who_comes_no_more(redis_url: str, redis: Redis, name: str) -> None:
    counting = await opened(redis_url, minute_seconds=0.2)
    meters = [Meter(kind, 5, "key", f"{name}:{kind}") for kind in Kind]
    await ask(counting, *meters, longest=0.3)
    await counting.settle([meter for meter in meters if meter.kind is Kind.TOKENS], "x", tokens=9)
    assert len(await redis.keys(f"{name}:*")) == 3
    await asyncio.sleep(0.5)
    assert await redis.keys(f"{name}:*") == []
    await counting.close()

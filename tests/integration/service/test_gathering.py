"""Requests of one moment in one transaction: who shares it, and whom a failure concerns."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from core.domain.ids import new_id
from core.domain.keys import Key
from core.storage.database import Database, connect
from service.gathering import MOST, WRITERS, Gathering

ONE, OTHER = (Key(new_id(), frozenset(), None, None) for _ in range(2))


Asked = tuple[Key, str]


class Numbers:
    """Reads numbers in Postgres, and notes what came together; closed until it is opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.opened = asyncio.Event()
        self.together: list[tuple[Key, list[str]]] = []

    async def read(self, asked: Sequence[Asked]) -> list[int]:
        self.together.append((asked[0][0], [one for _, one in asked]))
        await self.opened.wait()
        async with self._database.transaction() as session:
            found = [await session.scalar(text("SELECT CAST(:given AS integer)"), {"given": one}) for _, one in asked]
        return [int(one or 0) for one in found]


@pytest.fixture
def numbers(database: Database) -> Numbers:
    return Numbers(database)


def gathered(numbers: Numbers) -> Gathering[Asked, int]:
    return Gathering("numbers", numbers.read, kind=lambda asked: asked[0])


async def all_busy(gathering: Gathering[Asked, int]) -> list["asyncio.Task[int]"]:
    """As many requests as there are writers, each being written."""
    first = []
    for number in range(WRITERS):
        first.append(asyncio.create_task(gathering.ask((ONE, str(number)))))
        await asyncio.sleep(0.05)
    return first


async def test_what_comes_while_all_writers_are_busy_shares_the_next_transaction(
    numbers: Numbers,
) -> None:
    gathering = gathered(numbers)
    first = await all_busy(gathering)
    later = [asyncio.create_task(gathering.ask((ONE, str(10 + number)))) for number in range(5)]
    await asyncio.sleep(0.05)
    numbers.opened.set()
    assert await asyncio.gather(*first, *later) == [*range(WRITERS), *range(10, 15)]
    assert [len(asked) for _, asked in numbers.together] == [*[1] * WRITERS, 5]


async def test_no_more_share_one_than_may_and_none_with_another_key(numbers: Numbers) -> None:
    gathering = gathered(numbers)
    first = await all_busy(gathering)
    keys = [ONE, OTHER] * (MOST + 1)
    later = [asyncio.create_task(gathering.ask((key, str(place)))) for place, key in enumerate(keys)]
    await asyncio.sleep(0.05)
    numbers.opened.set()
    await asyncio.gather(*first)
    assert await asyncio.gather(*later) == list(range(len(keys)))
    shared = numbers.together[WRITERS:]
    assert sorted((key is ONE, len(asked)) for key, asked in shared) == [
        (False, 1),
        (False, MOST),
        (True, 1),
        (True, MOST),
    ]


async def test_one_that_postgres_cannot_take_spoils_no_other(numbers: Numbers) -> None:
    gathering = gathered(numbers)
    numbers.opened.set()
    asked = [gathering.ask((ONE, given)) for given in ("1", "no number", "3")]
    first, bad, third = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, third) == (1, 3)
    assert isinstance(bad, DataError)


async def test_a_client_that_has_gone_takes_the_answer_from_no_other(numbers: Numbers) -> None:
    gathering = gathered(numbers)
    gone, stays = (asyncio.create_task(gathering.ask((ONE, given))) for given in ("1", "2"))
    await asyncio.sleep(0.05)
    gone.cancel()
    numbers.opened.set()
    assert await stays == 2
    assert await gathering.ask((ONE, "3")) == 3


async def test_it_is_finished_when_all_is_answered_though_nobody_waits_any_more(numbers: Numbers) -> None:
    gathering = gathered(numbers)
    gone = asyncio.create_task(gathering.ask((ONE, "1")))
    await asyncio.sleep(0.05)
    gone.cancel()
    finishing = asyncio.create_task(gathering.finish())
    await asyncio.sleep(0.05)
    assert not finishing.done()
    numbers.opened.set()
    await asyncio.wait_for(finishing, 10)


async def test_what_is_too_large_for_postgres_spoils_no_other(database: Database) -> None:
    async def lengths(asked: Sequence[int]) -> list[int]:
        async with database.transaction() as session:
            return [
                await session.scalar(text("SELECT length(repeat('long', :times))"), {"times": one}) for one in asked
            ]

    gathering = Gathering("lengths", lengths)
    told = await asyncio.gather(*map(gathering.ask, [1, 2, 3, 2**31 - 1, 5, 6]), return_exceptions=True)
    assert isinstance(told.pop(3), OperationalError)
    assert told == [4, 8, 12, 20, 24]


async def test_where_postgres_is_away_all_are_told_at_once() -> None:
    engine = connect("postgresql+psycopg://nobody@/none?host=/nowhere", pool_size=1)
    numbers = Numbers(Database(engine))
    gathering = gathered(numbers)
    numbers.opened.set()
    told = await asyncio.gather(*(gathering.ask((ONE, "1")) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [OperationalError] * 3
    assert len(numbers.together) == 1  # nobody waited for a time-out of their own
    await engine.dispose()

"""Who is heard of two that are asked the same, and what becomes of the other."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from core.domain.errors import EngineError, EngineUnavailableError
from core.engine.client import EngineClient, EngineModels
from core.engine.pooled import PooledEngine
from core.settings import EngineSettings
from service.chat.hedging import first_answer

AFTER = 0.05
Ask = Callable[[], Awaitable[str]]


def engine(name: str) -> PooledEngine:
    settings = EngineSettings(engine_urls="http://nowhere")
    return PooledEngine(EngineClient(f"http://{name}", settings), concurrency=8, models=EngineModels("base", None))


@pytest.fixture
def first() -> PooledEngine:
    return engine("first")


@pytest.fixture
def second() -> PooledEngine:
    return engine("second")


async def race(
    first: PooledEngine, first_asked: Ask, second: PooledEngine | None, second_asked: Ask
) -> tuple[str, str]:
    """Who was heard, and what was said."""
    answers = {"http://first": first_asked, "http://second": second_asked}
    heard, answer = await first_answer(
        first, lambda one: answers[one.url](), after=AFTER, another=lambda: second, adapter="demo@v1"
    )
    return heard.url, answer


def says(text: str, seconds: float = 0.0) -> Ask:
    async def ask() -> str:
        await asyncio.sleep(seconds)
        return text

    return ask


def fails(error: Exception, seconds: float = 0.0) -> Ask:
    async def ask() -> str:
        await asyncio.sleep(seconds)
        raise error

    return ask


async def never() -> str:
    pytest.fail("it was asked")


async def test_one_that_answers_in_time_is_asked_alone(first: PooledEngine, second: PooledEngine) -> None:
    assert await race(first, says("a"), second, never) == ("http://first", "a")


async def test_one_that_fails_in_time_is_hedged_by_nobody(first: PooledEngine, second: PooledEngine) -> None:
    with pytest.raises(EngineError, match="broken"):
        await race(first, fails(EngineError("broken")), second, never)


async def test_the_second_is_heard_where_it_is_quicker(first: PooledEngine, second: PooledEngine) -> None:
    assert await race(first, says("a", 60), second, says("b")) == ("http://second", "b")


async def test_the_first_is_heard_where_it_is_quicker_after_all(first: PooledEngine, second: PooledEngine) -> None:
    assert await race(first, says("a", 2 * AFTER), second, says("b", 60)) == ("http://first", "a")


async def test_where_there_is_no_second_the_first_is_waited_for(first: PooledEngine) -> None:
    assert await race(first, says("a", 2 * AFTER), None, never) == ("http://first", "a")


async def test_a_second_that_fails_is_noted_and_the_first_is_waited_for(
    first: PooledEngine, second: PooledEngine
) -> None:
    away = fails(EngineUnavailableError("away"))
    assert await race(first, says("a", 4 * AFTER), second, away) == ("http://first", "a")
    assert second.models is None


async def test_a_first_that_fails_is_noted_and_the_second_is_waited_for(
    first: PooledEngine, second: PooledEngine
) -> None:
    away = fails(EngineUnavailableError("away"), 2 * AFTER)
    assert await race(first, away, second, says("b", 4 * AFTER)) == ("http://second", "b")
    assert first.models is None


async def test_where_both_fail_the_first_ones_error_is_told(first: PooledEngine, second: PooledEngine) -> None:
    broken, away = fails(EngineError("broken"), 3 * AFTER), fails(EngineUnavailableError("away"))
    with pytest.raises(EngineError, match="broken"):
        await race(first, broken, second, away)


async def test_who_is_not_heard_is_cut_off_before_the_answer_is_told(first: PooledEngine, second: PooledEngine) -> None:
    cut: list[str] = []

    async def slow() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cut.append("first")
            raise
        return "too late"

    assert await race(first, slow, second, says("b")) == ("http://second", "b")
    assert cut == ["first"]


async def test_both_are_cut_off_where_nobody_waits_any_more(first: PooledEngine, second: PooledEngine) -> None:
    under_way = 0

    async def slow() -> str:
        nonlocal under_way
        under_way += 1
        try:
            await asyncio.sleep(60)
        finally:
            under_way -= 1
        return "too late"

    waiting = asyncio.create_task(race(first, slow, second, slow))
    while under_way < 2:  # noqa: ASYNC110  # nothing else tells
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert under_way == 0

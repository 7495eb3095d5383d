"""One request at two engines: who answers first is heard, and the other is cut off."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.domain.errors import EngineError
from core.engine.pooled import PooledEngine
from service import metrics

Answer = TypeVar("Answer")
Ask = Callable[[PooledEngine], Awaitable[Answer]]


async def first_answer(
    engine: PooledEngine, ask: Ask[Answer], *, after: float, another: Callable[[], PooledEngine | None], adapter: str
) -> tuple[PooledEngine, Answer]:
    """Ask one engine, and where it has not answered `after` so many seconds, `another` too if there is one.

    Raises the first one's error where none answers. Any other error is noted at its engine.
    """
    first = asyncio.ensure_future(ask(engine))
    asked = {first: engine}
    try:
        done, _ = await asyncio.wait(asked, timeout=after)
        if not done and (other := another()):
            metrics.HEDGED_REQUESTS.inc()
            asked[asyncio.ensure_future(ask(other))] = other
        waiting, failure = set(asked), None
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    if failure is not None:
                        engine.note(failure, adapter)
                    return asked[task], task.result()
                if not isinstance(error, EngineError):
                    raise error
                if task is first:
                    failure = error
                else:
                    asked[task].note(error, adapter)
        return engine, first.result()
    finally:
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

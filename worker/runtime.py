"""The bridge from Celery's plain functions to async use cases; knows no use case and no queue."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from core.settings import DatabaseSettings
from core.storage.database import Database, connect

Result = TypeVar("Result")


def run(use_case: Callable[[Database], Awaitable[Result]]) -> Result:
    """Run one use case to its end, with connections that die with its event loop."""

    async def main() -> Result:
        bind = connect(DatabaseSettings().database_url)
        try:
            return await use_case(Database(bind))
        finally:
            await bind.dispose()

    return asyncio.run(main())

"""One request that was let in: what its client is told of its limits, and what it took, counted once when it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from service.limits.counting import Counting, CountingUnavailableError
from service.limits.meters import Kind, Meter


class Admission:
    def __init__(
        self, counting: Counting | None, meters: Sequence[Meter], request: str, headers: Mapping[str, str]
    ) -> None:
        self.headers = headers
        self._counting = counting
        self._request = request
        self._owed = [meter for meter in meters if meter.kind is not Kind.REQUESTS]

    async def settle(self, tokens: int) -> None:
        """Count the tokens and give the places back. The first call counts; whatever fails, it raises nothing.

        A task of its own: who hangs up in the middle of it cancels the waiting, not the counting.
        """
        owed, self._owed = self._owed, []
        if not tokens:
            owed = [meter for meter in owed if meter.kind is Kind.PLACES]
        if owed and self._counting is not None:
            await asyncio.shield(asyncio.ensure_future(_settle(self._counting, owed, self._request, tokens)))


async def _settle(counting: Counting, meters: Sequence[Meter], request: str, tokens: int) -> None:
    with suppress(CountingUnavailableError):  # it was said and counted; a place falls free by itself
        await counting.settle(meters, request, tokens=tokens)


UNCOUNTED = Admission(None, (), "", {})
"""Of a request that no limit concerns."""

"""One request that was let in: what its client is told of its limits, and what it took, counted once when it ends."""

import asyncio
from collections.abc import Mapping, Sequence

from service.limits.meters import Kind, Meter
from service.limits.settling import Settling


class Admission:
    def __init__(
        self, settling: Settling | None, meters: Sequence[Meter], request: str, headers: Mapping[str, str]
    ) -> None:
        self.headers = headers
        self._settling = settling
        self._request = request
        self._owed = [meter for meter in meters if meter.kind is not Kind.REQUESTS]

    async def settle(self, tokens: int) -> None:
        """Count the tokens and give the places back. The first call counts; whatever fails, it raises nothing.

        A task of its own: who hangs up in the middle of it cancels the waiting, not the counting.
        """
        owed, self._owed = self._owed, []
        if not tokens:
            owed = [meter for meter in owed if meter.kind is Kind.PLACES]
        if owed and self._settling is not None:
            await asyncio.shield(asyncio.ensure_future(self._settling.settle(owed, self._request, tokens=tokens)))


UNCOUNTED = Admission(None, (), "", {})
"""Of a request that no limit concerns."""

"""Valid keys that were seen lately, so that a request need not ask Postgres; forgotten at each revocation."""

import asyncio
import time
from datetime import UTC, datetime

from core.domain.errors import NotAuthenticatedError
from core.domain.keys import Key, hash_secret
from core.storage.database import Database, in_time
from core.storage.repositories import keys

MOST_KEYS = 10_000


class KeyRing:
    def __init__(self, database: Database, cache_seconds: float) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._seen: dict[bytes, tuple[float, Key]] = {}
        self._asking: dict[bytes, asyncio.Task[Key | None]] = {}
        self._revocations = 0

    async def find(self, secret: str) -> Key:
        """The key of that secret; NotAuthenticatedError when it is unknown, revoked or expired.

        Neither look-up compares what was presented with a secret: both go by its hash (core.domain.keys.hash_secret).
        """
        hashed = hash_secret(secret)
        trusted_until, key = self._seen.get(hashed, (0.0, None))
        if key is None or time.monotonic() >= trusted_until:
            revocations = self._revocations
            key = await self._ask(hashed)
            if key is None:
                self._seen.pop(hashed, None)
                raise NotAuthenticatedError("This API key is not valid.")
            if len(self._seen) >= MOST_KEYS:
                self._seen.clear()
            if revocations == self._revocations:  # else it may be what Postgres said before the last one
                self._seen[hashed] = (time.monotonic() + self._cache_seconds, key)
        if key.is_expired(datetime.now(UTC)):
            raise NotAuthenticatedError("This API key has expired.", code="expired_api_key")
        return key

    async def _ask(self, hashed: bytes) -> Key | None:
        """What Postgres says now: asked once by all requests that wait for it, not once by each."""
        asking = self._asking.get(hashed)
        if asking is None:
            asking = self._asking[hashed] = asyncio.create_task(in_time(self._look_up(hashed)))
            asking.add_done_callback(lambda task: self._end(hashed, task))
        return await asyncio.shield(asking)  # one that is cancelled takes the answer from no other

    async def _look_up(self, hashed: bytes) -> Key | None:
        async with self._database.transaction() as session:
            return await keys.find_key(session, hashed)

    def _end(self, hashed: bytes, task: "asyncio.Task[Key | None]") -> None:
        if self._asking.get(hashed) is task:
            del self._asking[hashed]
        if not task.cancelled():
            task.exception()  # seen here, should nobody wait for it any more

    def forget(self) -> None:
        self._revocations += 1
        self._seen.clear()
        self._asking.clear()  # what was asked before a revocation answers nobody who comes after it

"""Valid keys that were seen lately, so that a request need not ask Postgres; forgotten at each revocation."""

import time
from datetime import UTC, datetime

from core.domain.errors import NotAuthenticatedError
from core.domain.keys import Key, hash_secret
from core.storage.database import Database
from core.storage.repositories import keys

MOST_KEYS = 10_000


class KeyRing:
    def __init__(self, database: Database, cache_seconds: float) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._seen: dict[bytes, tuple[float, Key]] = {}

    async def find(self, secret: str) -> Key:
        """The key of that secret; NotAuthenticatedError when it is unknown, revoked or expired."""
        hashed = hash_secret(secret)
        trusted_until, key = self._seen.get(hashed, (0.0, None))
        if key is None or time.monotonic() >= trusted_until:
            async with self._database.transaction() as session:
                key = await keys.find_valid_key(session, hashed)
            if key is None:
                self._seen.pop(hashed, None)
                raise NotAuthenticatedError("This API key is not valid.")
            if len(self._seen) >= MOST_KEYS:
                self._seen.clear()
            self._seen[hashed] = (time.monotonic() + self._cache_seconds, key)
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise NotAuthenticatedError("This API key has expired.")
        return key

    def forget(self) -> None:
        self._seen.clear()

"""How old a version is: the promotions between it and the version that a run starts from."""

from collections.abc import Sequence
from uuid import UUID

from core.storage.models import RolloutEvent

PROMOTE = "promote"
TRIALS = ("canary", "canary_end")
"""Moves at which the version on trial was in service, if only for a share."""


class Age:
    """Promotions since each version was last in service; one that never was counts from the start."""

    def __init__(self, events: Sequence[RolloutEvent], stable_id: UUID) -> None:
        """`events` are all the agent's moves, oldest first; a run starts from the stable version."""
        promotions, last_seen = 0, {}
        for event in events:
            if event.from_id is not None:
                last_seen[event.from_id] = promotions
            if event.kind in TRIALS:
                last_seen[event.to_id] = promotions
            promotions += event.kind == PROMOTE
        self._oldest = promotions
        self._known = {version: promotions - seen for version, seen in last_seen.items()} | {stable_id: 0}

    def of(self, version: UUID) -> int:
        return self._known.get(version, self._oldest)

    def summary(self, versions: Sequence[UUID]) -> dict[str, float | int]:
        """Mean and largest over these versions, one a turn."""
        ages = [self.of(version) for version in versions]
        return {"mean": sum(ages) / len(ages), "max": max(ages)} if ages else {"mean": 0.0, "max": 0}

"""How old a version is: the promotions between it and the version that a run starts from."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from core.storage.models import RolloutEvent

PROMOTE = "promote"


def staleness_by_version(events: Sequence[RolloutEvent], stable_id: UUID) -> Mapping[UUID, int]:
    """Promotions since each version was last in service, for versions that ever were put there; events oldest first."""
    promotions, last_seen = 0, {}
    for event in events:
        if event.from_id is not None:
            last_seen[event.from_id] = promotions
        promotions += event.kind == PROMOTE
    return {version: promotions - seen for version, seen in last_seen.items()} | {stable_id: 0}


def staleness_of(versions: Iterable[UUID], events: Sequence[RolloutEvent], stable_id: UUID) -> dict[str, float | int]:
    """Mean and largest over these versions, one a turn; one that was never in service counts from the start."""
    known = staleness_by_version(events, stable_id)
    oldest = sum(event.kind == PROMOTE for event in events)
    ages = [known.get(version, oldest) for version in versions]
    return {"mean": sum(ages) / len(ages), "max": max(ages)} if ages else {"mean": 0.0, "max": 0}

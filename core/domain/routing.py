"""Which version a new episode gets: drawn once by hash, so that who returns is where they were."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from core.domain.episodes import Arm

HELD_OUT = b"hold-out"


@dataclass(frozen=True, slots=True)
class Drawn:
    """An arm, and how likely it was: among those that are not held out, or to be held out."""

    arm: Arm
    propensity: float


def draw(unit: str, *, agent: UUID, canary: UUID | None, weight: float, holdout: float) -> Drawn:
    """The arm of a unit, which is an end user, or a conversation where nobody is named.

    The same for the whole of a trial but that its share grows: who has met the version stays with it. Another trial
    draws anew, since its id goes into the hash. Who is held out is so in every trial.
    """
    if holdout > 0 and _share(HELD_OUT + agent.bytes, unit) < holdout:
        return Drawn(Arm.HOLDOUT, holdout)
    if canary is None:
        return Drawn(Arm.STABLE, 1.0)
    if _share(canary.bytes, unit) < weight:
        return Drawn(Arm.CANARY, weight)
    return Drawn(Arm.STABLE, 1.0 - weight)


def _share(salt: bytes, unit: str) -> float:
    """A number in [0, 1) that is uniform over units and independent between salts."""
    digest = hashlib.sha256(salt + unit.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48

"""How much of what is learned may come from one end user or rest on one source; knows no rows."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

FAIR_SHARES = 2.0
"""Where few take part each may still have so many times an equal share: else nobody could teach a new agent."""


@dataclass(frozen=True)
class Cap(Generic[T]):
    """The largest share of what is kept that one name may have; what has no name is like nothing else."""

    share: float
    of: Callable[[T], str | None]


def capped(items: Sequence[T], most: int, *caps: Cap[T]) -> list[T]:
    """`most` of the items, the first ones first, without those that are one too many of the same name.

    No name may have more than the cap's share of them, or FAIR_SHARES times an equal share where that is more; one at
    least. Who names no users gets no caps.
    """
    names = [[cap.of(item) for item in items] for cap in caps]
    drawn = min(most, len(items))
    each = [_most_of_one(cap.share, drawn, of_cap) for cap, of_cap in zip(caps, names, strict=True)]
    seen: list[Counter[str | None]] = [Counter() for _ in caps]
    kept: list[T] = []
    for place, item in enumerate(items):
        if len(kept) == most:
            break
        here = [of_cap[place] for of_cap in names]
        if all(name is None or counted[name] < limit for name, counted, limit in zip(here, seen, each, strict=True)):
            kept.append(item)
            for name, counted in zip(here, seen, strict=True):
                counted[name] += 1
    return kept


def _most_of_one(share: float, drawn: int, names: Sequence[str | None]) -> int:
    different = len({name for name in names if name is not None}) + list(names).count(None)
    return max(1, math.floor(share * drawn), math.floor(FAIR_SHARES * drawn / max(1, different)))

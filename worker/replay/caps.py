"""How much of what is learned may come from one end user or rest on one source; knows no rows."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

FAIR_SHARES = 2.0
"""Where few take part each may still have so many times an equal share: else nobody could teach a new agent."""


def capped(items: Sequence[T], share: float, of: Callable[[T], str | None]) -> list[T]:
    """The items, the first ones first, without those that are one too many of the same.

    No name may have more than `share` of the items, or FAIR_SHARES times an equal share where that is more; one at
    least. An item without a name is like no other: who names no users gets no caps.
    """
    names = [of(item) for item in items]
    different = len({name for name in names if name is not None}) + names.count(None)
    if not different:
        return []
    most = max(1, math.floor(share * len(items)), math.floor(FAIR_SHARES * len(items) / different))
    seen: Counter[str] = Counter()
    kept = []
    for item, name in zip(items, names, strict=True):
        if name is not None:
            seen[name] += 1
            if seen[name] > most:
                continue
        kept.append(item)
    return kept

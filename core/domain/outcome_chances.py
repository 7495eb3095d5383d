"""How likely a conversation of some kind is to get an outcome at all, from how many of its kind did."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.episodes import EpisodeEnd

PRIOR = 10.0
"""Conversations that what is known of all kinds counts for in one kind."""
CERTAIN = 1.0


@dataclass(frozen=True, slots=True)
class Decided:
    """Of so many conversations that have matured or expired, how many matured."""

    matured: int
    decided: int


def kind_of(ended_by: EpisodeEnd, turns: int) -> str:
    """How it ended, and how long it was to within a factor of two: `idle/4` had four turns to seven."""
    return f"{ended_by.value}/{1 << (turns.bit_length() - 1) if turns else 0}"


def estimate_chances(counted: Mapping[str, Decided]) -> dict[str, float]:
    """The chance of each kind, drawn towards that of all of them where a kind is rare.

        p = (m + k p₀) / (n + k)        p₀ = (Σm + 1) / (Σn + 2)

    m of n decided conversations matured, k is PRIOR. Both are posterior means of a Beta prior, so no chance is 0 and
    none can be divided by in vain.
    """
    matured = sum(each.matured for each in counted.values())
    decided = sum(each.decided for each in counted.values())
    overall = (matured + 1) / (decided + 2)
    return {kind: (each.matured + PRIOR * overall) / (each.decided + PRIOR) for kind, each in counted.items()}

"""The best that any agent can do at the support desk: dynamic programming over what it can know."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sim.support.needs import needs
from sim.support.rules import ESCALATE, MAX_TURNS, PATIENCE, REFUND, SORRY, Reaction, react


@dataclass(frozen=True, slots=True)
class Known:
    """What an agent knows in the middle of a conversation."""

    needs: frozenset[int]
    """Places of the needs that fit all answers, each as likely as the others."""
    bothered: int = 0
    """Patience taken until now, less what was given back."""
    peak: int = 0
    """The most that `bothered` has been: the customer can bear more than that."""
    turns: int = 0


def known_at_first(opening: str) -> Known:
    """What the complaint tells."""
    return Known(frozenset(place for place, need in enumerate(needs()) if opening in need.openings))


def next_known(known: Known, reaction: Reaction, fitting: frozenset[int]) -> Known:
    """What is known after a reaction that only these needs fit and that did not end the conversation."""
    bothered = max(0, known.bothered + reaction.bother)
    return Known(fitting, bothered, max(known.peak, bothered), known.turns + 1)


def reactions(known: Known, said: str) -> Mapping[Reaction, frozenset[int]]:
    """What the customer may answer, and the needs that would have her answer so."""
    places: dict[Reaction, set[int]] = defaultdict(set)
    for place in known.needs:
        places[react(needs()[place], said, known.turns)].add(place)
    return {reaction: frozenset(fitting) for reaction, fitting in places.items()}


@cache
def best(known: Known) -> tuple[float, str]:
    """The largest mean return that can still be had, and what to say for it.

        V(k) = max over utterances of Σ over reactions m of P(m) · (r(m) if it ends, else P(she stays) · V(k after m))

    Zero at the cap on turns, and where the customer leaves.
    """
    if known.turns == MAX_TURNS:
        return 0.0, SORRY
    concern = {said for place in known.needs for said in (*needs()[place].answers, needs()[place].remedy)}
    said_to_effect = sorted(concern | {ESCALATE, REFUND} | ({SORRY} if known.bothered else set()))
    branches = ((said, reactions(known, said)) for said in said_to_effect)
    return max((_worth(known, parted), said) for said, parted in branches if said == SORRY or _tells(parted))


def _tells(parted: Mapping[Reaction, frozenset[int]]) -> bool:
    """Whether it ends or teaches something. What only bothers is better left out: as much is known, and sooner."""
    return len(parted) > 1 or any(reaction.reward is not None for reaction in parted)


def _worth(known: Known, parted: Mapping[Reaction, frozenset[int]]) -> float:
    worth = 0.0
    for reaction, fitting in parted.items():
        if reaction.reward is not None:
            worth += len(fitting) * reaction.reward
        else:
            after = next_known(known, reaction, fitting)
            stays = _patient(after) / _patient(known)
            worth += len(fitting) * stays * best(after)[0] if stays else 0.0
    return worth / len(known.needs)


def _patient(known: Known) -> int:
    """How many of the possible patiences bear what was borne."""
    return sum(patience > known.peak for patience in PATIENCE)

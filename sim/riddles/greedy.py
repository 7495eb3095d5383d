"""The greedy player of a riddle, its exact score, and the score that no player can pass. A turn costs 1, the guess that
hits nothing."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from sim.riddles.riddle import Riddle


@lru_cache
def ideal_costs(most: int, wide: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Turns lost over all of n things, for n = 0 … `most`, if every question parted them as one likes.

        C(n) = min( n - 1 + C(n-1),  n + min over n₁ + n₂ = n of C(n₁) + C(n₂) ),   C(0) = C(1) = 0

    The first is a guess: a question that costs nothing where it hits. No player of a riddle of yes and no loses less:
    C(10) = 28, C(157) = 1064. `wide` are the numbers of answers of the questions that have more than two; each of those
    parts but once, into as many parts.
    """
    after_asking = [
        _spread(ideal_costs(most, wide[:place] + wide[place + 1 :]), answers) for place, answers in enumerate(wide)
    ]
    cost = [0, 0]
    for n in range(2, most + 1):
        halved = min(cost[size] + cost[n - size] for size in range(1, n))
        cost.append(n + min(cost[n - 1] - 1, halved, *(spread[n] for spread in after_asking)))
    return tuple(cost)


def _spread(cost: Sequence[int], parts: int) -> Sequence[int]:
    """The least that n things cost in so many parts, for each n."""
    best = cost
    for _ in range(parts - 1):
        best = [min(cost[size] + best[n - size] for size in range(n + 1)) for n in range(len(cost))]
    return best


def bound(riddle: Riddle) -> float:
    """A mean return that no player of the riddle passes."""
    wide = tuple(sorted(len(parts) for parts in riddle.parts.values() if len(parts) > 2))
    return -ideal_costs(riddle.count, wide)[riddle.count] / riddle.count


def choose_question(riddle: Riddle, possible: int) -> str | None:
    """The question after which least is lost if all that follows halved what is left; None where guessing is better."""
    count, costs = possible.bit_count(), ideal_costs(riddle.count)
    best, chosen = count - 1 + costs[count - 1], None
    for question, parts in riddle.parts.items():
        left = [(possible & part).bit_count() for part in parts.values()]
        cost = count + sum(costs[size] for size in left)
        if max(left) < count and cost < best:
            best, chosen = cost, question
    return chosen


def first_of(possible: int) -> int:
    """The place of the first thing that is possible: as good a guess as any."""
    return (possible & -possible).bit_length() - 1


def greedy_turns(riddle: Riddle) -> dict[int, int]:
    """For each thing, how many turns the greedy player loses before the guess that hits it."""
    return dict(_play(riddle, riddle.everything, 0))


def _play(riddle: Riddle, possible: int, lost: int) -> Iterator[tuple[int, int]]:
    question = choose_question(riddle, possible)
    if question is None:
        yield first_of(possible), lost
        rests = [possible & (possible - 1)]
    else:
        rests = [possible & part for part in riddle.parts[question].values()]
    for rest in filter(None, rests):
        yield from _play(riddle, rest, lost + 1)

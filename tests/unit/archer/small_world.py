"""A world of two replies whose every conversation can be listed: what policies are worth there is a sum by hand.

The first reply, 0 or 1, leads to a place of its own; the second earns what the table says there.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, tensor

LOGGED = (0.5, 0.25, 0.75)
"""The chance of reply 1 at the first place, after 0, and after 1; all are sixteenths of the whole."""
OTHER = (0.75, 0.5, 0.5)
FIRST = (0.25, 0.0)
"""What the first reply earns."""
SECOND = ((0.0, 1.0), (2.0, 0.5))
"""What the second reply earns at the place behind the first."""
TIMES = 200


@dataclass(frozen=True)
class SmallWorld:
    """Each conversation as often as the logged policy has it, TIMES sixteenths; columns are the two places."""

    reward: Tensor
    log_ratio: Tensor
    state: Tensor
    """0 at first, 1 and 2 behind the replies 0 and 1."""
    reply: Tensor


def chance(policy: tuple[float, ...], state: int, reply: int) -> float:
    return policy[state] if reply else 1 - policy[state]


def second_value(policy: tuple[float, ...], first: int) -> float:
    return sum(chance(policy, 1 + first, reply) * SECOND[first][reply] for reply in (0, 1))


def first_q(policy: tuple[float, ...], first: int) -> float:
    return FIRST[first] + second_value(policy, first)


def value(policy: tuple[float, ...]) -> float:
    return sum(chance(policy, 0, first) * first_q(policy, first) for first in (0, 1))


def all_conversations() -> SmallWorld:
    """The whole distribution as a sample, so that a mean over it is an expectation."""
    rows: list[tuple[int, int]] = []
    for first, second in product((0, 1), repeat=2):
        share = chance(LOGGED, 0, first) * chance(LOGGED, 1 + first, second)
        rows += [(first, second)] * round(TIMES * 16 * share)
    ratios = [
        [chance(OTHER, 0, a) / chance(LOGGED, 0, a), chance(OTHER, 1 + a, b) / chance(LOGGED, 1 + a, b)]
        for a, b in rows
    ]
    return SmallWorld(
        reward=tensor([[FIRST[a], SECOND[a][b]] for a, b in rows], dtype=torch.float64),
        log_ratio=tensor(ratios, dtype=torch.float64).log(),
        state=tensor([[0, 1 + a] for a, _ in rows]),
        reply=tensor(rows),
    )


def true_q(policy: tuple[float, ...], world: SmallWorld) -> Tensor:
    table = [[first_q(policy, 0), first_q(policy, 1)], [*SECOND[0]], [*SECOND[1]]]
    return tensor(table, dtype=torch.float64)[world.state, world.reply]


def true_v(policy: tuple[float, ...], world: SmallWorld) -> Tensor:
    table = [value(policy), second_value(policy, 0), second_value(policy, 1)]
    return tensor(table, dtype=torch.float64)[world.state]

"""Turns as the critic sees them: whole episodes, what each turn earned, where the next observation is."""

import itertools
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worker.archer.types import Transition


class Dialogues(NamedTuple):
    """Turns of whole episodes, episode after episode, as columns."""

    reward: Float[Tensor, "turns"]
    bootstraps: Float[Tensor, "turns"]
    """1 where a value follows, 0 where the episode ended for good."""
    ends: Bool[Tensor, "turns"]
    weight: Float[Tensor, "turns"]
    """min(ρ, c) of the turn, for the mean that V is."""
    trace: Float[Tensor, "turns"]
    """How freely what follows a turn passes to the turns before it, at λ = 1."""

    def take(self, turns: Sequence[int]) -> "Dialogues":
        """These turns; whole episodes if the targets are to be right."""
        index = torch.tensor(turns, device=self.reward.device)
        return Dialogues(*(column[index] for column in self))


def build_dialogues(
    transitions: Sequence[Transition],
    ends: Sequence[bool],
    weight: Float[Tensor, "turns"],
    trace: Float[Tensor, "turns"],
) -> Dialogues:
    """The columns of these turns, on the device of `weight`."""
    device = weight.device
    return Dialogues(
        reward=torch.tensor([turn.reward for turn in transitions], dtype=torch.float32, device=device),
        bootstraps=torch.tensor([float(bootstraps(turn)) for turn in transitions], device=device),
        ends=torch.tensor(ends, device=device),
        weight=weight,
        trace=trace,
    )


def bootstraps(turn: Transition) -> bool:
    """Whether something of value followed the turn: it did unless the episode ended there for good."""
    return not turn.terminal and turn.next_observation is not None


def episode_places(ends: Sequence[bool]) -> list[range]:
    """The places of each episode's turns."""
    starts = [0, *(place + 1 for place, is_end in enumerate(ends) if is_end)]
    return [range(start, end) for start, end in itertools.pairwise(starts)]


def is_held_out(name: str, share: float) -> bool:
    """Whether the critic never learns from what goes by this name; by nothing else, so every update answers alike."""
    return zlib.crc32(name.encode()) / 2**32 < share

"""Demonstrated replies beside what was said instead, as the critic learns from them; knows no rewards and no actor."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.config import ArcherConfig
from worker.archer.critic import Critic
from worker.archer.demonstrated import turns_said, turns_shown
from worker.archer.dialogues import is_held_out
from worker.archer.losses import margin_loss
from worker.archer.processes import ALONE, Processes
from worker.archer.reader import Reader
from worker.archer.types import Demonstration, Features


class Contrasts:
    """Pairs of replies to one observation. As turns, all that should have been given come before all that were."""

    def __init__(self, reader: Reader[Any], demonstrations: Sequence[Demonstration], held_out_share: float) -> None:
        self.names = [demonstration.episode for demonstration in demonstrations]
        self.index = reader.index([*turns_shown(demonstrations), *turns_said(demonstrations)])
        self.pairs = range(len(demonstrations))
        self.held_out = [pair for pair in self.pairs if is_held_out(demonstrations[pair].held_out_by, held_out_share)]
        held_out = set(self.held_out)
        self.learned = [pair for pair in self.pairs if pair not in held_out]
        self.features: Features | None = None

    def turns_of(self, pairs: Sequence[int]) -> list[int]:
        """Both replies of each pair: the demonstrated ones, then the others."""
        return [*pairs, *(len(self.pairs) + pair for pair in pairs)]

    @torch.no_grad()
    def keep(self, critic: Critic) -> None:
        """Read all there is once, where the reader never moves."""
        if not critic.reader.trains:
            with critic.reader.active():
                self.features = critic.reader.read(self.index, self.turns_of(self.pairs), following=False)

    def some(self, most: int, generator: torch.Generator) -> list[int]:
        """The pairs of a step: all that may be learned from while they are at most `most`, else by lot."""
        if len(self.learned) <= most:
            return self.learned
        return [self.learned[place] for place in torch.randperm(len(self.learned), generator=generator)[:most].tolist()]

    def parts(self, critic: Critic, turns: list[int]) -> list[list[int]]:
        """The turns in parts that each fit one pass with gradient."""
        return critic.reader.parts(self.index, turns) if self.features is None else [turns]

    def active(self, critic: Critic) -> AbstractContextManager[None]:
        """The reader's own context, where it reads."""
        return critic.reader.active() if self.features is None else nullcontext()

    def q(self, critic: Critic, turns: Sequence[int]) -> Float[Tensor, "ensemble turns"]:
        """Q of these turns' replies. Call it within `active`."""
        if self.features is None:
            return critic.q(critic.reader.read(self.index, turns, following=False))
        return critic.q(self.features.take(turns))

    @torch.no_grad()
    def lead(self, critic: Critic) -> Float[Tensor, "pairs"]:
        """minᵢ Qᵢ of each demonstrated reply less that of what was said instead."""
        with self.active(critic):
            shown, said = self.q(critic, self.turns_of(self.pairs)).amin(dim=0).chunk(2)
        return shown - said


def margin_losses(
    critic: Critic, contrasts: Contrasts, pairs: Sequence[int], config: ArcherConfig, processes: Processes = ALONE
) -> Iterator[Float[Tensor, ""]]:
    """This process' parts of demonstration_weight · J_E of these pairs, in units of the values' scale.

    The two replies of a pair may lie in different parts, each of which is one pass through what reads. So how J_E pulls
    at each Q is found first, without what reads, and followed part by part: ∇J_E = Σ ∂J_E/∂Q · ∇Q.
    """
    turns = contrasts.turns_of(pairs)
    slot = {turn: place for place, turn in enumerate(turns)}
    scale = critic.heads.scale
    with contrasts.active(critic):
        with torch.no_grad():
            before = contrasts.q(critic, turns)
        shown, said = before.requires_grad_().chunk(2, dim=1)
        loss = margin_loss(said, shown, config.demonstration_margin * scale) / scale
        (pull,) = torch.autograd.grad(loss, before)
        constant = (loss - (pull * before).sum()).detach() / len(turns)
        for part, counts in processes.share(contrasts.parts(critic, turns)):
            pulled = pull[:, [slot[turn] for turn in part]] * contrasts.q(critic, part)
            yield counts * config.demonstration_weight * (pulled.sum() + len(part) * constant)

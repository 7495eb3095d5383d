"""A slow copy of the critic that is never trained: where bootstrapped values come from."""

import copy

import torch

from worker.archer.critic import Critic


class TargetCritic(Critic):
    """Follows a critic by Polyak steps; reads with the same reader where that never moves."""

    def __init__(self, online: Critic) -> None:
        heads = copy.deepcopy(online.heads).requires_grad_(False)
        super().__init__(online.reader.twin(), heads)

    @torch.no_grad()
    def polyak_step(self, online: Critic, tau: float) -> None:
        """θ̄ ← (1-τ) θ̄ + τ θ for all that is trained."""
        fast = online.trained()
        for name, slow in self.trained().items():
            slow.lerp_(fast[name], tau)

    @torch.no_grad()
    def copy_units(self, online: Critic) -> None:
        """Take over shift and scale at once: they are units, not estimates that a target may lag behind."""
        for slow, fast in zip(self.heads.buffers(), online.heads.buffers(), strict=True):
            slow.copy_(fast)

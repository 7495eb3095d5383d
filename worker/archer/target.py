"""A slow copy of the critic that cannot be trained: where bootstrapped values come from."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.archer.critic import DoubleCritic


class TargetCritic(nn.Module):
    """Follows a critic by Polyak steps; shares the encoder where the encoder is frozen."""

    def __init__(self, online: DoubleCritic) -> None:
        super().__init__()
        shared = {} if online.trains_encoder else {id(online.encoder): online.encoder}
        self.network: DoubleCritic = copy.deepcopy(online, shared).requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> "TargetCritic":
        """Refuse: a target that learns is no target."""
        if mode:
            raise TypeError("A target critic is never trained; train the critic and call polyak_step.")
        return self

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "texts width"]:
        """Features of each text by the target's encoder."""
        return self.network.encode(texts)

    @torch.no_grad()
    def q(
        self, observation: Float[Tensor, "batch width"], utterance: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "2 batch"]:
        """Q̄₁ and Q̄₂."""
        return self.network.q(observation, utterance)

    @torch.no_grad()
    def v(self, observation: Float[Tensor, "batch width"]) -> Float[Tensor, "2 batch"]:
        """V̄₁ and V̄₂."""
        return self.network.v(observation)

    @torch.no_grad()
    def polyak_step(self, online: DoubleCritic, tau: float) -> None:
        """θ̄ ← (1-τ) θ̄ + τ θ for all that is trained."""
        for slow, fast in zip(self.network.parameters(), online.parameters(), strict=True):
            if fast.requires_grad:
                slow.lerp_(fast, tau)

    @torch.no_grad()
    def copy_units(self, online: DoubleCritic) -> None:
        """Take over shift and scale at once: they are units, not estimates that a target may lag behind."""
        for slow, fast in zip(self.network.heads.buffers(), online.heads.buffers(), strict=True):
            slow.copy_(fast)

"""From twin values to the one number that all tokens of an utterance share."""

import torch
from jaxtyping import Float
from torch import Tensor


def pessimistic_advantage(q: Float[Tensor, "twins batch"], v: Float[Tensor, "twins batch"]) -> Float[Tensor, "batch"]:
    """A(s,a) = minᵢ Qᵢ(s,a) - minᵢ Vᵢ(s), without gradient. Zhou et al. 2024, §4; the algebra is their code's."""
    return (q.amin(dim=0) - v.amin(dim=0)).detach()


def normalise_advantages(advantage: Float[Tensor, "batch"], flat_below: float, bound: float) -> Float[Tensor, "batch"]:
    """Advantages of comparable size whatever the rewards' unit, centred because one action a state leaves V noisy.

        Ã = clamp((A - mean A) / sd A, -bound, bound),    0 everywhere if sd A < flat_below

    Dividing by a vanishing sd would turn rounding into instructions.
    """
    spread = advantage.std(correction=0)
    if spread < flat_below:
        return torch.zeros_like(advantage)
    return ((advantage - advantage.mean()) / spread).clamp(-bound, bound)

"""Values as classes: a critic's logits read as a distribution over fixed places, or as one probability."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def two_hot(
    target: Float[Tensor, "*ensemble batch"], bins: Float[Tensor, "bins"]
) -> Float[Tensor, "*ensemble batch bins"]:
    """The distribution over bins that lies on a target's two neighbours and has the target as its mean.

        p_i = (z_{i+1} - y) / (z_{i+1} - z_i),  p_{i+1} = 1 - p_i        z_i ≤ y ≤ z_{i+1}, 0 elsewhere

    `bins` are at least two values, ascending, in the target's unit; a target outside of them counts as the nearest one,
    the most that a head over them can say. Without gradient. Schrittwieser et al. 2020 (MuZero); Farebrother et al.
    2024.
    """
    inside = target.detach().clamp(bins[0], bins[-1]).contiguous()
    upper = torch.searchsorted(bins, inside, right=True).clamp(max=len(bins) - 1)
    lower = upper - 1
    upper_share = (inside - bins[lower]) / (bins[upper] - bins[lower])
    shares = upper_share.new_zeros(*upper_share.shape, len(bins))
    shares.scatter_(-1, lower.unsqueeze(-1), (1 - upper_share).unsqueeze(-1))
    return shares.scatter_(-1, upper.unsqueeze(-1), upper_share.unsqueeze(-1))


def expected_value(
    logits: Float[Tensor, "*ensemble batch bins"], bins: Float[Tensor, "bins"]
) -> Float[Tensor, "*ensemble batch"]:
    """Σᵢ softmax(l)ᵢ zᵢ: the value that a head over bins stands for, with gradient."""
    return (logits.softmax(dim=-1) * bins).sum(dim=-1)


def two_hot_loss(
    logits: Float[Tensor, "*ensemble batch bins"], target: Float[Tensor, "*ensemble batch"], bins: Float[Tensor, "bins"]
) -> Float[Tensor, "*ensemble batch"]:
    """Cross-entropy of a head over bins against a target's two-hot distribution, each turn's on its own.

        L = - Σᵢ pᵢ(y) log softmax(l)ᵢ        y without gradient

    Its least value is the entropy of p, not 0: between two bins even a perfect head keeps a loss of up to ln 2.
    Farebrother et al. 2024.
    """
    return -(two_hot(target, bins) * logits.log_softmax(dim=-1)).sum(dim=-1)


def binary_loss(
    logits: Float[Tensor, "*ensemble batch"], target: Float[Tensor, "*ensemble batch"]
) -> Float[Tensor, "*ensemble batch"]:
    """Cross-entropy of a value that is the probability sigmoid(l), each turn's on its own.

        L = - y log σ(l) - (1-y) log(1-σ(l))        y without gradient

    For outcomes between 0 and 1. A target outside counts as the nearer end: traces may put one there, and beyond the
    ends the loss would have no least value.
    """
    return functional.binary_cross_entropy_with_logits(logits, target.detach().clamp(0, 1), reduction="none")

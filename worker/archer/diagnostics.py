"""Figures that say whether a critic can be believed and hears the replies at all; nothing is trained on them."""

import torch
from jaxtyping import Float
from torch import Tensor

# Values that vary by less are rounding: what would be divided by their spread is not a figure.
FLAT = 1e-6


def rank_correlation(prediction: Float[Tensor, "batch"], observed: Float[Tensor, "batch"]) -> float | None:
    """Spearman's rank correlation, -1 to 1, tied values sharing their mean rank; None if one of the two is constant.

    Unlike explained variance it forgives a critic its unit and asks only which turn it holds for the better one.
    """
    ranks = torch.stack([_average_ranks(prediction), _average_ranks(observed)])
    centred = ranks - ranks.mean(dim=1, keepdim=True)
    squares = centred.square().sum(dim=1)
    if not squares.all():
        return None
    return (centred.prod(dim=0).sum() / squares.prod().sqrt()).item()


def calibration_error(prediction: Float[Tensor, "batch"], observed: Float[Tensor, "batch"], bins: int) -> float | None:
    """How far predictions lie from what came of them on average, in sd of the observed; None if that never varies.

        1/B · Σ_i n_i | mean_i Q - mean_i G | / sd(G)        over bins i of neighbouring predictions, n_i turns each

    Bins hold equally many turns, except that equal predictions stay together. 0 is calibrated. A constant at the right
    mean is too, so rank_correlation belongs beside it. Noise alone gives up to about .8 √(bins/B).
    """
    spread = observed.double().std(correction=0).item()
    if spread < FLAT:
        return None
    place = ((_average_ranks(prediction) - 0.5) / len(prediction) * bins).long()
    gap = (prediction.double() - observed.double()).detach()
    return gap.new_zeros(bins).index_add(0, place, gap).abs().sum().item() / len(prediction) / spread


def twin_gap(q: Float[Tensor, "ensemble turns"]) -> float | None:
    """How far the members of an ensemble disagree, in sd of the values; None if the mean member never varies.

        mean_b ( maxᵢ Qᵢ - minᵢ Qᵢ ) / sd_b( meanᵢ Qᵢ )

    Well below 1 they tell turns apart alike; near 1 and above, pessimism decides and not the turn.
    """
    return _relative((q.amax(dim=0) - q.amin(dim=0)).double().mean(), q.double().mean(dim=0))


def positive_share(advantage: Float[Tensor, "batch"]) -> float:
    """The share of turns with A > 0: about a half where V is the mean of Q, far from it where V is not."""
    return (advantage > 0).double().mean().item()


def advantage_spread(q_of_candidates: Float[Tensor, "states candidates"]) -> float | None:
    """How much the reply matters to a critic beside the state; None if no state is better than another.

        mean_s sd_a Q(s,a) / sd_s( mean_a Q(s,a) )        over sampled replies a of each state s

    Near 0 the critic does not hear the reply: its advantages are rounding, however well it predicts returns.
    """
    values = q_of_candidates.double()
    return _relative(values.std(dim=1, correction=0).mean(), values.mean(dim=1))


def _relative(amount: Float[Tensor, ""], values: Float[Tensor, "batch"]) -> float | None:
    spread = values.std(correction=0).item()
    return None if spread < FLAT else amount.item() / spread


def _average_ranks(values: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """1 for the smallest, equal values at the mean of the places that they take up."""
    _, group, sizes = torch.unique(values.detach(), return_inverse=True, return_counts=True)
    ranks: Tensor = (sizes.cumsum(0) - (sizes - 1) / 2).double()
    return ranks[group]

"""What another policy would have earned in logged conversations, and how sure that is; knows no model and no judge.

A row is a conversation and a column a place in it. Behind a conversation's last turn there are zeros, and its weight
stays what it was: the conversation is over, and both policies earn nothing there. Nothing is discounted: the sum of a
conversation's rewards is what an agent is run for.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worker.archer.importance import effective_sample_size

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over conversations, and between which bounds it lies in 95 of 100 such samples of end users."""

    mean: float
    low: float
    high: float


def cumulative_weights(log_ratio: Float[Tensor, "conversations places"]) -> Float[Tensor, "conversations places"]:
    """How much likelier the policy is to have come so far, each reply as a whole.

        w_t = min( Π_{k≤t} Π_j π(a_kj) / μ(a_kj), √n )        n conversations

    `log_ratio` is Σ_j (log π - log μ) of each reply. A mean over its tokens would be steadier, and the ratio of no
    policy: even a perfect judge's estimate would not be the policy's then. Each decision has the product up to itself,
    which is less than the whole conversation's (Precup et al. 2000). Truncated at √n, so that no conversation speaks
    for all; the bias goes with n (Ionides 2008).
    """
    return log_ratio.cumsum(dim=1).exp().clamp(max=math.sqrt(len(log_ratio)))


def weighted_mean_parts(
    weight: Float[Tensor, "conversations *places"], value: Float[Tensor, "conversations *places"]
) -> Float[Tensor, "conversations *places"]:
    """Each conversation's part in a self-normalised mean.

        x̄ + w_i / w̄ (x_i - x̄)        x̄ = Σ_i w_i x_i / Σ_i w_i

    Their mean is x̄, and they vary as x̄ does from sample to sample (its influence function): intervals come from them.
    A bias that goes with n, for much less noise than weights that sum to something else each time.
    """
    share = weight / weight.mean(dim=0)
    mean = (share * value).mean(dim=0)
    return mean + share * (value - mean)


def surprises(
    reward: Float[Tensor, "conversations places"],
    q: Float[Tensor, "conversations places"],
    v: Float[Tensor, "conversations places"],
) -> Float[Tensor, "conversations places"]:
    """δ_t = r_t + V_{t+1} - Q_t: by how much what came is better than the judge thought. V is 0 behind the end."""
    following = torch.cat([v[:, 1:], torch.zeros_like(v[:, :1])], dim=1)
    return reward + following - q


def doubly_robust(
    reward: Float[Tensor, "conversations places"],
    weight: Float[Tensor, "conversations places"],
    q: Float[Tensor, "conversations places"],
    v: Float[Tensor, "conversations places"],
) -> Float[Tensor, "conversations"]:
    """What each conversation says of the policy's return; the mean estimates it.

        x = Σ_t [ w_t (r_t - Q_t) + w_{t-1} V_t ] = V_0 + Σ_t w_t δ_t        w_{-1} = 1

    Unbiased if the weights are right, whatever Q, as long as V = E_π Q; and if Q is the policy's, whatever the weights:
    then each δ_t has mean zero where it stands. Jiang & Li 2016. With Q = V = 0 it is per-decision importance sampling.
    """
    return v[:, 0] + (weight * surprises(reward, q, v)).sum(dim=1)


def weighted_doubly_robust(
    reward: Float[Tensor, "conversations places"],
    weight: Float[Tensor, "conversations places"],
    q: Float[Tensor, "conversations places"],
    v: Float[Tensor, "conversations places"],
) -> Float[Tensor, "conversations"]:
    """The same with self-normalised weights at each place: V_0 + Σ_t of δ_t's parts. Thomas & Brunskill 2016."""
    return v[:, 0] + weighted_mean_parts(weight, surprises(reward, q, v)).sum(dim=1)


def gains_by_place(
    reward: Float[Tensor, "conversations places"], weight: Float[Tensor, "conversations places"]
) -> Float[Tensor, "conversations places"]:
    """What the policy's own reply at each place brings, where the logged policy goes on from there.

        mean of G_t by w_t, less that by w_{t-1}        G_t = Σ_{k≥t} r_k,   w_{-1} = 1

    The performance difference of Kakade & Langford 2002, place by place, with what came in place of a judge. The sum
    over the places telescopes: it is weighted per-decision importance sampling less what came.
    """
    before = torch.cat([torch.ones_like(weight[:, :1]), weight[:, :-1]], dim=1)
    to_come = reward.flip(1).cumsum(dim=1).flip(1)
    return weighted_mean_parts(weight, to_come) - weighted_mean_parts(before, to_come)


def trust_judge(
    without: Float[Tensor, "conversations"], judged: Float[Tensor, "conversations"], unit: Int[Tensor, "conversations"]
) -> float:
    """How far the judge is trusted: the β in [0, 1] with which without + β (judged - without) varies least.

    With right ratios each β estimates the same; a judge that knows little adds noise, and is left out so far. A judge
    that is chosen by the variance it leaves: Farajtabar et al. 2018, for a scale of one judge.
    """
    plain, change = _by_unit(without, unit), _by_unit(judged - without, unit)
    size = change.square().sum()
    return float((-(plain @ change) / size).clamp(0, 1)) if size > 0 else 0.0


def estimate(value: Float[Tensor, "conversations"], unit: Int[Tensor, "conversations"]) -> Estimate:
    """The mean of the conversations' values with its interval, each unit's conversations together.

        mean ± z · √( U/(U-1) · Σ_u (Σ_{i∈u} (x_i - x̄))² ) / n        U units, z = 1.96

    Conversations of one end user are no news of each other. Normal, by the values' influence; infinite for one unit.
    """
    mean = value.mean().item()
    together = _by_unit(value, unit)
    units = len(together)
    if units < 2:
        return Estimate(mean, -math.inf, math.inf)
    spread = math.sqrt(units / (units - 1) * together.square().sum().item()) / len(value)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread
    return Estimate(mean, mean - reach, mean + reach)


def effective_units(weight: Float[Tensor, "conversations"], unit: Int[Tensor, "conversations"]) -> float:
    """(Σ_u W_u)² / Σ_u W_u², W_u = Σ_{i∈u} w_i: how many equally weighted units the conversations are worth. Kish 1965.

    With the weights of whole conversations, which are the furthest apart.
    """
    units, place = torch.unique(unit, return_inverse=True)
    together = weight.new_zeros(len(units)).index_add(0, place, weight)
    # In units of the largest, since squares of very small weights would all be zero.
    return effective_sample_size(together / together.max()).item() if together.max() > 0 else 0.0


def _by_unit(value: Float[Tensor, "conversations"], unit: Int[Tensor, "conversations"]) -> Float[Tensor, "units"]:
    """Σ_{i∈u} (x_i - x̄)."""
    units, place = torch.unique(unit, return_inverse=True)
    return value.new_zeros(len(units)).index_add(0, place, value - value.mean())

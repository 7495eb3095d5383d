"""From a critic's values to what the actor follows: a number for each utterance or token, or a choice among replies."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worker.archer.traces import carry_back


def pessimistic_advantage(
    q: Float[Tensor, "ensemble batch"], v: Float[Tensor, "ensemble batch"]
) -> Float[Tensor, "batch"]:
    """A(s,a) = minᵢ Qᵢ(s,a) - minᵢ Vᵢ(s) over an ensemble of any size, without gradient.

    Zhou et al. 2024, §4, with twins; the algebra is their code's.
    """
    return (q.amin(dim=0) - v.amin(dim=0)).detach()


def observed_advantage(
    reward: Float[Tensor, "turns"],
    value: Float[Tensor, "*ensemble turns"],
    next_value: Float[Tensor, "*ensemble turns"],
    bootstraps: Float[Tensor, "turns"],
    ends: Bool[Tensor, "turns"],
    trace: Float[Tensor, "turns"],
    gamma: float,
) -> Float[Tensor, "*ensemble turns"]:
    """What really came after each logged reply, less what was expected before it; without gradient.

        Aₜ = Σ_{k≥t} γ^(k-t) · Π_{j=t+1..k} cⱼ · [ r_k + γ b_k V_{k+1} - V_k ]

    Arguments as in returns.retrace_target. Schulman et al. 2016 (GAE) where c = λ, with the truncated traces of
    Espeholt et al. 2018 (V-trace) where the policy has moved. It needs no Q, so it does not inherit what Q confuses;
    its price is the luck of one conversation. c = 1 is the Monte Carlo return less V, c = 0 one step's surprise.
    """
    surprise = reward + gamma * bootstraps * next_value - value
    return carry_back(surprise, gamma * trace, ends)


def normalise_advantages(advantage: Float[Tensor, "batch"], flat_below: float, bound: float) -> Float[Tensor, "batch"]:
    """Advantages of comparable size whatever the rewards' unit, centred because one action a state leaves V noisy.

        Ã = clamp((A - mean A) / sd A, -bound, bound),    0 everywhere if sd A < flat_below

    Dividing by a vanishing sd would turn rounding into instructions.
    """
    spread = advantage.std(correction=0)
    if spread < flat_below:
        return torch.zeros_like(advantage)
    return ((advantage - advantage.mean()) / spread).clamp(-bound, bound)


def token_advantages(advantage: Float[Tensor, "tokens"], baseline: Float[Tensor, "tokens"]) -> Float[Tensor, "tokens"]:
    """A(s,a) - Vtok(s, a_<t), without gradient: what an utterance's advantage owes to token t and those after it.

    `advantage` is the turn's on each of its tokens. Vtok sees nothing of token t itself, so subtracting it leaves the
    policy gradient's mean and takes from its variance. Zhou et al. 2024, the optional token-level baseline.
    """
    return (advantage - baseline).detach()


def best_candidates(
    advantage: Float[Tensor, "states candidates"], threshold: float
) -> Bool[Tensor, "states candidates"]:
    """True at each state's reply of largest advantage, the first of equals, if that lies above the threshold.

    A state whose best reply is no better than that has none: nothing is imitated there. Bai et al. 2025 (Digi-Q).
    """
    best = torch.zeros_like(advantage, dtype=torch.bool).scatter(1, advantage.argmax(dim=1, keepdim=True), True)
    return best & (advantage > threshold)

"""The three losses: each a pure function of tensors, each with its equation."""

from jaxtyping import Float
from torch import Tensor

from worker.archer.importance import truncated_ratio


def q_loss(q: Float[Tensor, "twins batch"], target: Float[Tensor, "twins batch"]) -> Float[Tensor, ""]:
    """Squared TD error, mean over turns, summed over the twins.

        J_Q = Σᵢ mean_b ( Qᵢ(s_b,a_b) - y_ib )²          y without gradient

    Each twin follows its own target network: Zhou et al. 2024, J_Q.
    """
    return (q - target.detach()).square().mean(dim=1).sum()


def v_loss(
    v: Float[Tensor, "twins batch"], target_q: Float[Tensor, "twins batch"], weight: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """V as the mean of Q̄ under the policy, from logged utterances.

        J_V = Σᵢ  Σ_b w_b ( Vᵢ(s_b) - Q̄ᵢ(s_b,a_b) )² / Σ_b w_b         w = min(ρ, c)

    The paper draws a fresh utterance for each state; here the logged one stands in, weighted to look drawn from π.
    """
    return (weight * (v - target_q.detach()).square()).sum(dim=1).sum() / weight.sum()


def policy_gradient_loss(
    logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    advantage: Float[Tensor, "tokens"],
    turns: int,
    max_ratio: float,
) -> Float[Tensor, ""]:
    """Token-level REINFORCE with the utterance's advantage on each of its tokens.

        J_π = - 1/B · Σ_b A_b · Σₜ min(ρ_bt, c) · log π(a_bt)        ρ = π/μ, no gradient through ρ

    Tokens of all utterances lie flat, so no padding exists to be masked; `turns` is B. Zhou et al. 2024, J_π, with the
    logged utterance in place of a fresh one, hence ρ.
    """
    ratio = truncated_ratio(logprobs, behaviour_logprobs, max_ratio)
    return -(advantage * ratio * logprobs).sum() / turns

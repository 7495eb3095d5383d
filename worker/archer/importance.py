"""How far the policy is from the one that spoke: ratios, what they are worth, and a divergence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def truncated_ratio(
    logprobs: Float[Tensor, "tokens"], behaviour_logprobs: Float[Tensor, "tokens"], max_ratio: float
) -> Float[Tensor, "tokens"]:
    """ρ = min(π/μ, c) of each token, no gradient through it. Truncation: Espeholt et al. 2018 (V-trace)."""
    return (logprobs - behaviour_logprobs).detach().exp().clamp(max=max_ratio)


def summed_log_ratios(
    logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    turn: Int[Tensor, "tokens"],
    turns: int,
) -> tuple[Float[Tensor, "turns"], Float[Tensor, "turns"]]:
    """Σₜ (log π(a_bt) - log μ(a_bt)) of each utterance without gradient, and |a_b|; 0 and 0 for a turn without tokens.

    `turn` names each token's turn, in any order.
    """
    difference = (logprobs - behaviour_logprobs).detach()
    total = difference.new_zeros(turns).index_add(0, turn, difference)
    length = difference.new_zeros(turns).index_add(0, turn, torch.ones_like(difference))
    return total, length


def turn_ratio(
    logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    turn: Int[Tensor, "tokens"],
    turns: int,
) -> Float[Tensor, "turns"]:
    """Length-normalised ratio of each utterance; 1 for a turn that has no token here.

        ρ_b = exp( 1/|a_b| · Σₜ (log π(a_bt) - log μ(a_bt)) )

    Biased, and on purpose: the full product over 32 tokens with a log-ratio sd of .3 keeps almost no turn's weight.
    """
    total, length = summed_log_ratios(logprobs, behaviour_logprobs, turn, turns)
    return (total / length.clamp(min=1)).exp()


def effective_sample_size(weight: Float[Tensor, "batch"]) -> Float[Tensor, ""]:
    """(Σw)² / Σw²: how many equally weighted turns these are worth. Kish 1965."""
    return weight.sum().square() / weight.square().sum()


def kl_estimate(
    logprobs: Float[Tensor, "tokens"], start_logprobs: Float[Tensor, "tokens"], weight: Float[Tensor, "tokens"]
) -> Float[Tensor, ""]:
    """KL(π₀ ‖ π) in nats a token, from tokens that π₀ sampled; a figure, not a loss.

        Σ w (eᵈ - 1 - d) / Σ w        d = log π - log π₀

    Each term is ≥ 0 and the mean unbiased for samples of π₀ (Schulman's k3); w = min(π₀/μ, c) corrects for others.
    """
    difference = logprobs.detach() - start_logprobs
    return (weight * (difference.exp() - 1 - difference)).sum() / weight.sum()

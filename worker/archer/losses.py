"""The losses of critic and actor: each a pure function of tensors, each with its equation."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.archer.importance import truncated_ratio


def q_loss(error: Float[Tensor, "ensemble part"], turns: int) -> Float[Tensor, ""]:
    """A part of the TD loss, mean over all `turns` of a step, summed over the members.

        J_Q = Σᵢ mean_b ℓ(Qᵢ(s_b,a_b), y_ib)          y without gradient

    `error` is ℓ, the heads' own; squared, and each member after its own target, it is Zhou et al. 2024, J_Q.
    """
    return error.sum() / turns


def v_loss(
    error: Float[Tensor, "ensemble part"], weight: Float[Tensor, "*ensemble part"], weight_sum: float
) -> Float[Tensor, ""]:
    """A part of the loss of V as the mean of Q̄ under some weight, whose sum over all turns of a step is `weight_sum`.

        J_V = Σᵢ  Σ_b w_b ℓ(Vᵢ(s_b), Q̄ᵢ(s_b,a_b)) / Σ_b w_b          no gradient through w and Q̄

    w = 1 where replies are sampled for it (Zhou et al. 2024, J_V); min(ρ, c) has a logged reply look drawn from π. With
    expectile_weight, over the number of turns, V is an expectile of the logged replies.
    """
    return (weight * error).sum() / weight_sum


def expectile_weight(
    difference: Float[Tensor, "*ensemble batch"], expectile: float
) -> Float[Tensor, "*ensemble batch"]:
    """|e - 1(u < 0)|: e where the target lies at or above the prediction, 1 - e where it lies below; 0 < e < 1.

    u = Q̄(s,a) - V(s). e = ½ is half the plain loss and gives the mean; towards 1 V nears the best logged reply.
    Kostrikov et al. 2021 (IQL).
    """
    return torch.where(difference < 0, 1 - expectile, expectile).to(difference)


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


def clipped_policy_loss(
    logprobs: Float[Tensor, "tokens"],
    start_logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    advantage: Float[Tensor, "tokens"],
    turns: int,
    clip_low: float,
    clip_high: float,
    max_ratio: float,
) -> Float[Tensor, ""]:
    """Clipped policy gradient whose trust region lies around the update's start, whoever spoke the tokens.

        J = - 1/B · Σ_b Σₜ w min( r A, clip(r, 1-ε₋, 1+ε₊) A )        r = π/π₀,  w = min(π₀/μ, c), no gradient through w

    A token gives no gradient once r has left the region on the side that A pushes to. Tokens of all utterances lie
    flat, `turns` is B. Hilton et al. 2021 (decoupled PPO), with w truncated for its variance, which biases it.
    """
    ratio = (logprobs - start_logprobs.detach()).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    weight = truncated_ratio(start_logprobs, behaviour_logprobs, max_ratio)
    return -(weight * torch.minimum(ratio * advantage, clipped * advantage)).sum() / turns


def awr_loss(
    logprobs: Float[Tensor, "tokens"],
    advantage: Float[Tensor, "tokens"],
    turns: int,
    beta: float,
    max_weight: float,
    weight: Float[Tensor, "tokens"] | float = 1.0,
) -> Float[Tensor, ""]:
    """Imitation of logged utterances, each weighted by how good it was.

        J = - 1/B · Σ_b w_b · min( exp(β A_b), m ) · Σₜ log π(a_bt)        no gradient through A and w

    No weight is negative: a bad reply is imitated less, never pushed away. Larger β trusts the critic more; m keeps one
    turn from being the whole batch; w is the turn's own weight, which must not sharpen exp(βA). Tokens lie flat,
    `turns` is B. Peng et al. 2019 (AWR).
    """
    return imitation_loss(logprobs, weight * (beta * advantage).exp().clamp(max=max_weight), turns)


def imitation_loss(
    logprobs: Float[Tensor, "tokens"], chosen: Bool[Tensor, "tokens"] | Float[Tensor, "tokens"], turns: int
) -> Float[Tensor, ""]:
    """Likelihood of the utterances that were chosen: a mask, or a weight ≥ 0, the same for all tokens of a turn.

        J = - 1/B · Σ_b w_b Σₜ log π(a_bt)        no gradient through w

    With advantages.best_candidates as the choice it is Digi-Q's extraction (Bai et al. 2025).
    """
    return -(chosen.detach() * logprobs).sum() / turns


def cloning_loss(
    logprobs: Float[Tensor, "tokens"], length: Float[Tensor, "tokens"] | Int[Tensor, "tokens"], demonstrations: int
) -> Float[Tensor, ""]:
    """Behaviour cloning of demonstrated utterances, each of which counts once however long it is.

        J_BC = - 1/D · Σ_d 1/|a_d| · Σₜ log π(a_dt)

    Tokens lie flat, `length` is |a_d| at each of them, `demonstrations` is D.
    """
    return imitation_loss(logprobs, 1 / length, demonstrations)


def margin_loss(
    q: Float[Tensor, "ensemble pairs"], q_demonstrated: Float[Tensor, "ensemble pairs"], margin: float | Tensor
) -> Float[Tensor, ""]:
    """Large margin: what a human would have had said is worth more by m than what was said instead.

        J_E = Σᵢ mean_d max(0, Qᵢ(s_d,a_d) + m - Qᵢ(s_d,a_Ed))

    A pair whose margin is kept gives no gradient, so values need not be told by how much the better reply is better.
    Hester et al. 2018 (DQfD), whose largest Q over all other actions is here that of the one reply known to be worse.
    """
    return (q + margin - q_demonstrated).clamp(min=0).mean(dim=1).sum()


def token_baseline_loss(
    baseline: Float[Tensor, "tokens"], advantage: Float[Tensor, "tokens"]
) -> Float[Tensor, "tokens"]:
    """(Vtok(s, a_<t) - A(s,a))², A without gradient: each token's loss on its own; the paper takes their mean.

    Fitted so, the baseline is the advantage to be expected of an utterance from its first tokens; what is left for each
    token is advantages.token_advantages. Zhou et al. 2024, the optional token-level baseline.
    """
    return (baseline - advantage.detach()).square()


def exact_kl(
    logits: Float[Tensor, "tokens vocab"],
    reference_logits: Float[Tensor, "tokens vocab"],
    temperature: Float[Tensor, "tokens"],
) -> Float[Tensor, "tokens"]:
    """KL(π ‖ π_ref) in nats at each token's place, over the whole vocabulary, with gradient through π only.

        KLₜ = Σ_v π(v) (log π(v) - log π_ref(v))        both at the temperature that was sampled with

    Nothing is sampled, so unlike importance.kl_estimate it may be descended whoever spoke the tokens. In float32 at
    least; it holds several copies of the logits until backward, so a micro-batch at a time.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    scale = temperature.unsqueeze(-1)
    log_policy = (logits.to(precise) / scale).log_softmax(dim=-1)
    log_reference = (reference_logits.detach().to(precise) / scale).log_softmax(dim=-1)
    return (log_policy.exp() * (log_policy - log_reference)).sum(dim=-1)

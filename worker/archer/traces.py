"""How far a later turn's surprise is carried back to the turns before it; knows log-probs and episodes, no values."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.archer.importance import summed_log_ratios


def length_normalised_trace(
    logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    turn: Int[Tensor, "tokens"],
    turns: int,
    lam: float,
) -> Float[Tensor, "turns"]:
    """Trace of each turn from the geometric mean of its token ratios; no gradient through it.

        c_b = λ min( 1, exp( 1/|a_b| · Σₜ (log π(a_bt) - log μ(a_bt)) ) )        0 for a turn that has no token here

    Retrace's trace (Munos et al. 2016) with a ratio a token in place of the utterance's: biased, and on purpose, see
    full_product_trace. `turn` names each token's turn. A turn without tokens is one whose log-probs nobody knows, and
    nobody knows then whether π would have said it: what follows it reaches it through the targets alone.
    """
    total, length = summed_log_ratios(logprobs, behaviour_logprobs, turn, turns)
    return _trace(total / length.clamp(min=1), length, lam)


def full_product_trace(
    logprobs: Float[Tensor, "tokens"],
    behaviour_logprobs: Float[Tensor, "tokens"],
    turn: Int[Tensor, "tokens"],
    turns: int,
    lam: float,
) -> Float[Tensor, "turns"]:
    """Trace of each turn from the ratio of the whole utterance; no gradient through it.

        c_b = λ min( 1, Πₜ π(a_bt)/μ(a_bt) )        0 for a turn that has no token here

    Retrace(λ) as published (Munos et al. 2016), unbiased and soon one-step TD again: with a log-ratio sd of .3 a token
    and 32 tokens a turn, five turns leave .01 of a surprise.
    """
    total, length = summed_log_ratios(logprobs, behaviour_logprobs, turn, turns)
    return _trace(total, length, lam)


def carry_back(
    amount: Float[Tensor, "*ensemble turns"], factor: Float[Tensor, "turns"], ends: Bool[Tensor, "turns"]
) -> Float[Tensor, "*ensemble turns"]:
    """Each turn's amount plus those of its episode's later turns, each shrunk by the factors in between.

        Sₜ = xₜ + fₜ₊₁ Sₜ₊₁        and  S = x  at an episode's last turn, which `ends` marks

    Episodes lie one after another with their turns in order. One pass over all episodes at once for each place counted
    from the end, so the cost is the longest episode's and no padding is made. ValueError if the last episode is open.
    """
    if ends.numel() and not ends[-1]:
        raise ValueError("The last turn given is not the end of an episode: nothing says where to start from.")
    place = torch.arange(len(ends), device=ends.device)
    last = ends.nonzero().flatten()
    turns_left = last[torch.searchsorted(last, place)] - place
    same_distance = torch.split(turns_left.argsort(stable=True), torch.bincount(turns_left).tolist())
    total = amount.detach().clone()
    for turns in same_distance[1:]:
        total[..., turns] += factor.detach()[turns + 1] * total[..., turns + 1]
    return total


def mean_trace_length(trace: Float[Tensor, "turns"], ends: Bool[Tensor, "turns"]) -> Float[Tensor, ""]:
    """How many further turns' rewards reach a turn, in turns, as the mean over all of them; a figure.

        1/B · Σₜ Σ_{k>t} Π_{j=t+1..k} cⱼ        the inner sums within an episode

    0 is one-step TD; at c = 1 an episode of n turns has (n-1)/2.
    """
    return (carry_back(torch.ones_like(trace), trace, ends) - 1).mean()


def _trace(log_ratio: Float[Tensor, "turns"], length: Float[Tensor, "turns"], lam: float) -> Float[Tensor, "turns"]:
    return lam * log_ratio.clamp(max=0).exp() * (length > 0)

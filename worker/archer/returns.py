"""Targets of the utterance-level critic: tensors and numbers in, detached numbers out."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


def td_target(
    reward: Float[Tensor, "batch"],
    next_value: Float[Tensor, "*twins batch"],
    bootstraps: Float[Tensor, "batch"],
    gamma: float,
) -> Float[Tensor, "*twins batch"]:
    """One-step target of Q.

        y = r + γ b V̄(s')        b = 0 where the episode ended for good, 1 elsewhere

    `next_value` is the target network's. Zhou et al. 2024, eq. for J_Q; theirs also sets b = 0 at the cap on turns,
    which teaches that long dialogues are worthless, so here only a real end does.
    """
    return (reward + gamma * bootstraps * next_value).detach()


def monte_carlo_returns(
    rewards: Sequence[float], ends: Sequence[bool], values_after: Sequence[float], gamma: float
) -> list[float]:
    """Discounted return of each turn, for figures and scale; never a target.

        Gₜ = rₜ + γ Gₜ₊₁         and after an episode's last turn  G = rₜ + γ V(s')

    `ends` marks last turns; `values_after` is read there only, 0 where the end was real.
    """
    returns = [0.0] * len(rewards)
    following = 0.0
    for turn in reversed(range(len(rewards))):
        if ends[turn]:
            following = values_after[turn]
        following = rewards[turn] + gamma * following
        returns[turn] = following
    return returns


def explained_variance(prediction: Float[Tensor, "batch"], observed: Float[Tensor, "batch"]) -> float | None:
    """1 - Var(G - Q) / Var(G): 1 is perfect, 0 no better than a constant, below that worse; None if G never varies."""
    variance = observed.var(correction=0).item()
    if variance < 1e-12:
        return None
    return 1.0 - (observed - prediction).var(correction=0).item() / variance

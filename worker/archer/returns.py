"""Targets of the utterance-level critic: tensors and numbers in, detached numbers out."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from worker.archer.traces import carry_back


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


def retrace_target(
    reward: Float[Tensor, "turns"],
    q: Float[Tensor, "*ensemble turns"],
    next_value: Float[Tensor, "*ensemble turns"],
    bootstraps: Float[Tensor, "turns"],
    ends: Bool[Tensor, "turns"],
    trace: Float[Tensor, "turns"],
    gamma: float,
) -> Float[Tensor, "*ensemble turns"]:
    """Target of Q that hears of later turns as far as the policy would have come there.

        yₜ = Q̄ₜ + Σ_{k≥t} γ^(k-t) · Π_{j=t+1..k} cⱼ · [ r_k + γ b_k V̄_{k+1} - Q̄_k ]

    Whole episodes, one after another, their turns in order; `ends` marks last turns, where the sum stops, and
    `trace[t]` is cₜ, the turn's own: how freely what follows turn t passes to the turns before it. `q` and `next_value`
    are the target network's, V̄ the mean of Q̄ under the policy. c = 0 is td_target; c = 1 where V̄ = Q̄ is the Monte Carlo
    return with a bootstrap after its last turn. Munos et al. 2016 (Retrace), with utterances as actions.
    """
    surprise = td_target(reward, next_value, bootstraps, gamma) - q.detach()
    return q.detach() + carry_back(surprise, gamma * trace, ends)


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


def steady_value(rewards: Sequence[float], ends: Sequence[bool], bootstraps: Sequence[float], gamma: float) -> float:
    """The one value of all states that agrees with the returns it is bootstrapped into, for a critic's first zero.

        v = mean_t Gₜ,   Gₜ = Gₜ⁰ + v γ^(T-t) b_T         so   v = mean G⁰ / (1 - mean γ^(T-t) b_T)

    G⁰ bootstraps with 0, T is the end of turn t's episode. A critic that starts from mean G⁰ takes a cut for an end
    until its targets have moved, and learns first of all to tell late turns from early ones. Where no episode really
    ended and γ is 1 no value agrees, and it is mean G⁰.
    """
    earned = monte_carlo_returns(rewards, ends, [0.0] * len(rewards), gamma)
    bootstrapped = monte_carlo_returns([0.0] * len(rewards), ends, bootstraps, gamma)
    open_share = 1 - sum(bootstrapped) / len(rewards)
    return sum(earned) / len(rewards) / (open_share if open_share > 1e-6 else 1.0)


def explained_variance(prediction: Float[Tensor, "batch"], observed: Float[Tensor, "batch"]) -> float | None:
    """1 - Var(G - Q) / Var(G): 1 is perfect, 0 no better than a constant, below that worse; None if G never varies."""
    variance = observed.var(correction=0).item()
    if variance < 1e-12:
        return None
    return 1.0 - (observed - prediction).var(correction=0).item() / variance

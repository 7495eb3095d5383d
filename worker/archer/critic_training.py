"""Fits Q and V to whole episodes; knows what was read of the turns and what they earned, nothing of the actor."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.config import ArcherConfig
from worker.archer.contrasts import Contrasts, margin_losses
from worker.archer.critic import Critic
from worker.archer.descent import Descent, descend
from worker.archer.dialogues import Dialogues
from worker.archer.losses import expectile_weight, q_loss, v_loss
from worker.archer.processes import ALONE, Processes
from worker.archer.returns import retrace_target
from worker.archer.target import TargetCritic
from worker.archer.types import Features

FreshValues = Callable[[Sequence[int]], Float[Tensor, "ensemble turns"]]
"""Q̄ of an utterance that the policy says now, for each of these turns' observations."""


class Lessons(NamedTuple):
    """What a critic is fitted to in one update."""

    dialogues: Dialogues
    places: object
    """The reader's, of all turns."""
    features: Features | None
    """Of all turns, where the reader never moves; None has each step read anew."""
    episodes: Sequence[range]
    """The turns of each episode that may be learned from."""
    names: Sequence[str]
    """The episode of each turn."""
    fresh_values: FreshValues | None
    """Where V is to be the mean over sampled utterances."""
    contrasts: Contrasts | None = None
    """Where humans said which replies should have been given."""


class Targets(NamedTuple):
    """What Q and V of some turns are to become, without gradient."""

    q: Float[Tensor, "ensemble turns"]
    v: Float[Tensor, "ensemble turns"]


def train_critic(
    critic: Critic,
    target: TargetCritic,
    optimiser: torch.optim.Optimizer,
    lessons: Lessons,
    config: ArcherConfig,
    generator: torch.Generator,
    processes: Processes = ALONE,
) -> list[Descent]:
    """Take `critic_steps` steps over shuffled episodes, a Polyak step of the targets after each."""
    steps = []
    waiting: list[int] = []
    for _ in range(config.critic_steps):
        chosen: list[int] = []
        while len(chosen) < config.critic_batch_turns:
            if not waiting:
                if chosen:
                    break  # no turn twice in a step
                waiting = torch.randperm(len(lessons.episodes), generator=generator).tolist()
            chosen += lessons.episodes[waiting.pop()]
        losses = critic_losses(critic, target, lessons, chosen, config, processes)
        named = [lessons.names[turn] for turn in chosen]
        if lessons.contrasts is not None and lessons.contrasts.learned:
            pairs = lessons.contrasts.some(config.critic_batch_turns, generator)
            losses = itertools.chain(losses, margin_losses(critic, lessons.contrasts, pairs, config, processes))
            named += [lessons.contrasts.names[pair] for pair in pairs]
        step = descend(optimiser, losses, config.max_grad_norm, whose="critic", episodes=named, processes=processes)
        assert step is not None  # nothing vetoes a critic's step
        steps.append(step)
        target.polyak_step(critic, config.tau)
    return steps


def critic_losses(
    critic: Critic,
    target: TargetCritic,
    lessons: Lessons,
    turns: Sequence[int],
    config: ArcherConfig,
    processes: Processes = ALONE,
) -> Iterator[Float[Tensor, ""]]:
    """This process' parts of J_Q + J_V of whole episodes; all sum to the step's loss however it is split.

        J_Q = Σᵢ mean_b ℓ(Qᵢ, yᵢ_b)        J_V = Σᵢ Σ_b w_b ℓ(Vᵢ, Q̄ᵢ_b) / Σ_b w_b

    ℓ is the heads' own error: squared (Zhou et al. 2024), or a cross-entropy. w = min(ρ, c) where V is a mean over
    logged replies, |e - 1(u<0)| where it is an expectile, 1 where replies are sampled for it.
    """
    dialogues = lessons.dialogues.take(turns)
    targets = critic_targets(target, lessons, turns, dialogues, config)
    parts = [list(turns)] if lessons.features is not None else critic.reader.parts(lessons.places, turns)
    slot = {turn: place for place, turn in enumerate(turns)}
    weight_sum = dialogues.weight.sum().item() if config.value == "weighted_mean" else float(len(turns))
    with active(critic, lessons):
        for part, counts in processes.share(parts):
            places = [slot[turn] for turn in part]
            features = read(critic, lessons, part, following=False)
            v_logits = critic.heads.v_logits(features.observation)
            q_error = critic.heads.error(critic.heads.q_logits(features.action), targets.q[:, places])
            v_error = critic.heads.error(v_logits, targets.v[:, places])
            weight = torch.ones_like(v_error)
            if config.value == "expectile":
                weight = expectile_weight(
                    targets.v[:, places] - critic.heads.value(v_logits).detach(), config.expectile
                )
            elif config.value == "weighted_mean":
                weight = dialogues.weight[places]
            yield counts * (q_loss(q_error, len(turns)) + v_loss(v_error, weight, weight_sum))


@torch.no_grad()
def critic_targets(
    target: TargetCritic, lessons: Lessons, turns: Sequence[int], dialogues: Dialogues, config: ArcherConfig
) -> Targets:
    """Where Q goes (returns.retrace_target) and where V goes (Q̄ of the logged or of a fresh utterance)."""
    with active(target, lessons):
        features = read(target, lessons, turns, following=True)
    q, v_following = target.q(features), target.v_following(features)
    if config.pessimistic_targets:
        q, v_following = q.amin(dim=0).expand_as(q), v_following.amin(dim=0).expand_as(q)
    trace = config.lam * dialogues.trace
    y = retrace_target(dialogues.reward, q, v_following, dialogues.bootstraps, dialogues.ends, trace, config.gamma)
    return Targets(y, q if lessons.fresh_values is None else lessons.fresh_values(turns))


def active(critic: Critic, lessons: Lessons) -> AbstractContextManager[None]:
    """The reader's own context, where it reads: to switch adapters walks through the whole model, twice a step."""
    return critic.reader.active() if lessons.features is None else nullcontext()


def read(critic: Critic, lessons: Lessons, turns: Sequence[int], *, following: bool) -> Features:
    """Features of these turns: kept ones where the reader never moves."""
    if lessons.features is None:
        return critic.reader.read(lessons.places, turns, following=following)
    return lessons.features.take(turns)

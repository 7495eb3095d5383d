"""Fits Q and V to turns by one-step TD; knows features and turns, nothing of tokens or of the actor."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.config import ArcherConfig
from worker.archer.critic import DoubleCritic
from worker.archer.descent import Descent, descend
from worker.archer.losses import q_loss, v_loss
from worker.archer.returns import td_target
from worker.archer.target import TargetCritic
from worker.archer.types import CriticBatch

Features = Float[Tensor, "texts width"]


def train_critic(
    critic: DoubleCritic,
    target: TargetCritic,
    optimiser: torch.optim.Optimizer,
    texts: Sequence[str],
    turns: CriticBatch,
    features: Features | None,
    config: ArcherConfig,
    generator: torch.Generator,
    episodes: Sequence[str],
) -> list[Descent]:
    """Take `critic_steps` steps over shuffled turns, a Polyak step of the targets after each.

    `features` are those of a frozen encoder, computed once; None has each step encode its texts, with gradient.
    """
    steps = []
    waiting: list[int] = []
    for _ in range(config.critic_steps):
        if not waiting:
            waiting = torch.randperm(len(episodes), generator=generator).tolist()
        chosen, waiting = waiting[: config.critic_batch_turns], waiting[config.critic_batch_turns :]
        batch = take(turns, chosen)
        losses = critic_losses(critic, target, texts, batch, features, config)
        named = [episodes[turn] for turn in chosen]
        step = descend(optimiser, losses, config.max_grad_norm, whose="critic", episodes=named)
        assert step is not None  # nothing vetoes a critic's step
        steps.append(step)
        target.polyak_step(critic, config.tau)
    return steps


def take(turns: CriticBatch, places: Sequence[int]) -> CriticBatch:
    """The batch of these turns."""
    index = torch.tensor(places, device=turns.reward.device)
    return CriticBatch(*(column[index] for column in turns))


def critic_losses(
    critic: DoubleCritic,
    target: TargetCritic,
    texts: Sequence[str],
    batch: CriticBatch,
    features: Features | None,
    config: ArcherConfig,
) -> Iterator[Float[Tensor, ""]]:
    """Parts of J_Q + J_V, in units of the rewards' scale squared; they sum to the batch's loss however it is split."""
    turns = len(batch.reward)
    turns_a_pass = turns
    if features is None:  # three texts a turn go through the encoder with their gradients
        turns_a_pass = max(1, config.max_tokens_per_microbatch // (3 * critic.encoder.max_tokens))
    for start in range(0, turns, turns_a_pass):
        part = CriticBatch(*(column[start : start + turns_a_pass] for column in batch))
        q_part, v_part = twin_losses(critic, target, texts, part, features, config.gamma)
        share_of_q = len(part.reward) / turns
        share_of_v = part.weight.sum() / batch.weight.sum()
        yield (q_part * share_of_q + v_part * share_of_v) / critic.heads.scale.square()


def twin_losses(
    critic: DoubleCritic,
    target: TargetCritic,
    texts: Sequence[str],
    batch: CriticBatch,
    features: Features | None,
    gamma: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """J_Q and J_V of turns that go through together."""
    if features is None:
        used, places = torch.unique(torch.cat(batch[:3]), return_inverse=True)
        observation, utterance, following = places.chunk(3)
        batch = batch._replace(observation=observation, utterance=utterance, next_observation=following)
        read = [texts[place] for place in used.tolist()]
        features, slow = critic.encode(read), target.encode(read)
    else:
        slow = features
    y = td_target(batch.reward, target.v(slow[batch.next_observation]), batch.bootstraps, gamma)
    target_q = target.q(slow[batch.observation], slow[batch.utterance])
    q = critic.q(features[batch.observation], features[batch.utterance])
    return q_loss(q, y), v_loss(critic.v(features[batch.observation]), target_q, batch.weight)

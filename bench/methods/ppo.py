"""PPO as a baseline: a few clipped passes over what was just played; advantages by GAE over turns or over tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from bench.methods.method import Figures
from bench.methods.reinforce import FLAT_BELOW, SHAPE, LoraMethod, logprobs_of
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from worker.archer.advantages import normalise_advantages
from worker.archer.critic import build_critic
from worker.archer.descent import descend
from worker.archer.dialogues import bootstraps
from worker.archer.episodes import episode_ends
from worker.archer.importance import kl_estimate
from worker.archer.losses import clipped_policy_loss
from worker.archer.returns import explained_variance
from worker.archer.rows import Row, build_rows, build_table
from worker.archer.traces import carry_back
from worker.archer.types import TokenBatch, TokenTable, Transition

Level = Literal["turn", "token"]

CRITIC = replace(
    SHAPE, critic_reader="policy", critic_encoding="joint", train_reader=True, critic_ensemble=1, critic_hidden=64
)
"""V alone, over an adapter of its own of the actor's size."""


@dataclass(frozen=True, slots=True)
class PPOConfig:
    """What PPO does with a batch of games; the line under each field says what raising it does."""

    learning_rate: float = 5e-4
    """Adam's step of the policy: higher reaches target_kl in fewer passes."""
    value_learning_rate: float = 1e-3
    """Adam's step of V and of what it reads with: higher fits a batch sooner."""
    epochs: int = 4
    """Passes over the games at most: more learns more from them, further from the policy that spoke."""
    minibatch_turns: int = 512
    """Turns in a step, in whole games: more gives fewer and steadier steps."""
    clip: float = 0.2
    """How far a token's ratio may leave 1 before its turn stops pushing."""
    gamma: float = 0.95
    """Discount a turn."""
    lam: float = 0.8
    """λ of GAE, a turn or a token: higher hears more of what really came, lower believes V more."""
    target_kl: float | None = 0.02
    """Nats a token from the start after which no further pass begins; None stops never."""
    entropy_coefficient: float = 0.0
    """Reward of a token for an undecided policy: higher explores longer."""
    per_step: int = 1024
    """Games between two updates."""


def gae(reward: Tensor, value: Tensor, after: Tensor, discount: Tensor, ends: Tensor, lam: float) -> Tensor:
    """Generalised advantages of the steps of whole episodes, one after another; all but `lam` have one entry a step.

        δₜ = rₜ + γₜ V(sₜ₊₁) - V(sₜ)        Aₜ = δₜ + γₜ λ Aₜ₊₁,   and A = δ at a last step, which `ends` marks

    `after` is V(sₜ₊₁), 0 where the episode ended for good. Schulman et al. 2016, eq. 16, with a discount of each step's
    own.
    """
    return carry_back(reward + discount * after - value, lam * discount.roll(1), ends)


def token_steps(turns: Sequence[Transition]) -> list[Transition]:
    """Each token of a turn as a step of its own: what was said before it is what it answers, the last one earns all."""
    steps = []
    for turn in turns:
        final = len(turn.completion_ids) - 1
        steps += [
            replace(
                turn,
                prompt_ids=turn.prompt_ids + turn.completion_ids[:place],
                completion_ids=(token,),
                behaviour_logprobs=turn.behaviour_logprobs[place : place + 1],
                reward=turn.reward if place == final else 0.0,
                terminal=turn.terminal and place == final,
            )
            for place, token in enumerate(turn.completion_ids)
        ]
    return steps


class Steps(NamedTuple):
    """What V judges: turns, or their tokens."""

    transitions: list[Transition]
    of_token: Tensor
    """The step of each token of the table."""
    discount: Tensor
    """γ after a turn's last step, 1 within a turn."""


def steps_of(turns: list[Transition], table: TokenTable, level: Level, gamma: float) -> Steps:
    """Turns as they are, or taken apart."""
    if level == "turn":
        return Steps(turns, table.turn, torch.full((len(turns),), gamma))
    closes = torch.cat([table.turn[1:] != table.turn[:-1], torch.tensor([True])])
    return Steps(token_steps(turns), torch.arange(len(table.turn)), torch.where(closes, gamma, 1.0))


class PPO(LoraMethod):
    """Clipped policy steps and steps of V over the same minibatches; all old values are read once an update."""

    level: ClassVar[Level]

    def __init__(self, policy: Path, config: PPOConfig, *, seed: int) -> None:
        super().__init__(policy, learning_rate=config.learning_rate, per_step=config.per_step, seed=seed)
        self.config = config
        self.critic = build_critic(self.actor, None, CRITIC, seed=seed)
        self.value_optimiser = torch.optim.Adam(self.critic.trained().values(), lr=config.value_learning_rate)

    def learn(self, played: Sequence[Played]) -> Figures:
        """Passes over the games until `epochs` are done or the policy has gone `target_kl`."""
        config = self.config
        turns = [turn for game in played for turn in transitions_of(game, on_policy=True)]
        rows, table = build_rows(turns, SHAPE.max_prompt_tokens), build_table(turns, self.actor.device)
        steps = steps_of(turns, table, self.level, config.gamma)
        index = self.critic.reader.index(steps.transitions)
        value, advantage = self._judge(steps, index)
        target = value + advantage
        pushes = normalise_advantages(advantage, FLAT_BELOW, float("inf"))[steps.of_token]
        losses: list[float] = []
        passes, kl = 0, 0.0
        while passes < config.epochs and (config.target_kl is None or kl <= config.target_kl):
            passes += 1
            for batch in self.minibatches(rows, config.minibatch_turns):
                kl = self._policy_step(batch, table, pushes)
                losses.append(self._value_step(torch.unique(steps.of_token[token_places(batch)]), index, target))
        return {
            "passes": passes,
            "steps": len(losses),
            "kl": kl,
            "value_loss": sum(losses) / len(losses),
            "explained_variance": explained_variance(value, target),
            "advantage_sd": advantage.std(correction=0).item(),
            "value_mean": value.mean().item(),
        }

    @torch.no_grad()
    def _judge(self, steps: Steps, index: Any) -> tuple[Tensor, Tensor]:
        """V of each step as it is before the update, and GAE."""
        transitions = steps.transitions
        ends = torch.tensor(episode_ends(transitions))
        reward = torch.tensor([step.reward for step in transitions])
        nothing = torch.zeros_like(reward)
        with self.critic.reader.active():
            features = self.critic.reader.read(index, range(len(transitions)), following=True)
        self.critic.heads.calibrate(features, gae(reward, nothing, nothing, steps.discount, ends, 1.0))
        value = self.critic.v(features)[0]
        after = self.critic.v_following(features)[0] * torch.tensor([float(bootstraps(step)) for step in transitions])
        return value, gae(reward, value, after, steps.discount, ends, self.config.lam)

    def _policy_step(self, batch: Sequence[Row], table: TokenTable, pushes: Tensor) -> float:
        """One step; gives back the KL from the start to where it was taken."""
        config = self.config
        turns = sum(len(row.spans) for row in batch)
        seen: list[tuple[Tensor, Tensor]] = []

        def objective(tokens: TokenBatch, logits: Tensor) -> Tensor:
            logprobs = logprobs_of(tokens, logits)
            start = table.behaviour_logprobs[tokens.table]
            seen.append((logprobs.detach(), start))
            loss = clipped_policy_loss(
                logprobs, start, start, pushes[tokens.table], turns, config.clip, config.clip, max_ratio=1.0
            )
            if config.entropy_coefficient > 0:
                loss = loss - config.entropy_coefficient * entropy(logits).sum() / turns
            return loss

        self.step(batch, objective)
        now, start = (torch.cat(column) for column in zip(*seen, strict=True))
        return kl_estimate(now, start, torch.ones_like(start)).item()

    def _value_step(self, chosen: Tensor, index: Any, target: Tensor) -> float:
        """One step of V to the λ-returns of these steps; gives back its loss, in units of the first returns' spread."""
        reader, heads = self.critic.reader, self.critic.heads
        parts = reader.parts(index, chosen.tolist())
        with reader.active():
            losses = (
                heads.error(
                    heads.v_logits(reader.read(index, part, following=False).observation), target[None, part]
                ).sum()
                / len(chosen)
                for part in parts
            )
            step = descend(self.value_optimiser, losses, CRITIC.max_grad_norm, whose="critic", episodes=())
        assert step is not None  # nothing vetoes it
        return step.loss

    def state(self) -> dict[str, Any]:
        """The critic's besides the actor's."""
        value = {"value": self.critic.state(), "value_optimiser": self.value_optimiser.state_dict()}
        return super().state() | value

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        super().load_state(state)
        self.critic.load_state(state["value"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])


class TurnPPO(PPO):
    """V at each turn's beginning, GAE over turns, a turn's advantage on each of its tokens."""

    level = "turn"


class TokenPPO(PPO):
    """V before each token, GAE over tokens, each its own advantage."""

    level = "token"


def entropy(logits: Tensor) -> Tensor:
    """In nats, of each token's distribution."""
    logprobs = logits.float().log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def token_places(rows: Sequence[Row]) -> Tensor:
    """Where the tokens of these rows' turns stand in the table."""
    return torch.cat([torch.arange(span.end - span.start) + span.table for row in rows for span in row.spans])

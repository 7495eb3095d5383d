"""REINFORCE on returns, the plainest baseline, and what every method that moves one LoRA by Adam does alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.methods.method import Figures, Method
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from worker.archer.actor import Actor, token_logprobs
from worker.archer.advantages import normalise_advantages
from worker.archer.config import ArcherConfig
from worker.archer.descent import Descent, descend
from worker.archer.episodes import episode_ends
from worker.archer.losses import policy_gradient_loss
from worker.archer.returns import monte_carlo_returns
from worker.archer.rows import Row, build_rows, build_table, collate, micro_batches
from worker.archer.types import TokenBatch

STATE = "method.pt"
SHAPE = ArcherConfig(lora_rank=16, lora_alpha=32, max_tokens_per_microbatch=2048)
"""The same adapter and the same passes for every method."""
FLAT_BELOW = 1e-6
"""Rewards are counted in ones: a smaller spread of advantages is rounding."""

Objective = Callable[[TokenBatch, Tensor], Tensor]
"""From tokens and their logits to their part of a step's loss."""


class LoraMethod(Method):
    """One LoRA and its Adam; a method adds what the steps are made of."""

    def __init__(self, policy: Path, *, learning_rate: float, per_step: int, seed: int) -> None:
        self.per_step = per_step
        self.actor = Actor.from_pretrained(policy, SHAPE, seed=seed)
        self.optimiser = torch.optim.Adam(self.actor.parameters(), lr=learning_rate)
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def player(self) -> PreTrainedModel:
        """The actor's model."""
        model: PreTrainedModel = self.actor.model
        return model

    def minibatches(self, rows: Sequence[Row], turns: int) -> list[list[Row]]:
        """Rows by lot in parts of about `turns` turns, none a mere remainder: it would move as far as a whole one."""
        count = max(1, round(sum(len(row.spans) for row in rows) / turns))
        drawn = torch.randperm(len(rows), generator=self.generator)
        return [[rows[place] for place in part.tolist()] for part in drawn.tensor_split(min(count, len(rows)))]

    def step(self, rows: Sequence[Row], objective: Objective) -> Descent:
        """One step of Adam down the sum of the objective's parts."""
        step = descend(self.optimiser, self._losses(rows, objective), SHAPE.max_grad_norm, whose="actor", episodes=())
        assert step is not None  # nothing vetoes it
        return step

    def _losses(self, rows: Sequence[Row], objective: Objective) -> Iterator[Tensor]:
        for together in micro_batches(rows, SHAPE.max_tokens_per_microbatch):
            tokens = collate(together, self.actor.device)
            yield objective(tokens, self.actor.logits(tokens))

    def state(self) -> dict[str, Any]:
        """Everything that an equal method needs to go on to the bit."""
        return {
            "adapter": self.actor.adapter_state(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.actor.load_adapter_state(state["adapter"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])

    def save(self, folder: Path) -> None:
        """The state, as one file."""
        torch.save(self.state(), folder / STATE)

    def restore(self, folder: Path) -> None:
        """Go on as if never stopped."""
        self.load_state(torch.load(folder / STATE, weights_only=True))


def logprobs_of(tokens: TokenBatch, logits: Tensor) -> Tensor:
    """log π of the trained tokens; games are played at temperature 1."""
    return token_logprobs(logits, tokens.targets, torch.ones(len(logits), device=logits.device))


@dataclass(frozen=True, slots=True)
class ReinforceConfig:
    """What REINFORCE does with a batch of games."""

    learning_rate: float = 1e-3
    """Adam's step: higher learns sooner, and from more noise."""
    minibatch_turns: int = 512
    """Turns in a step: more gives fewer and steadier steps in the one pass."""
    gamma: float = 0.95
    """Discount a turn: higher credits a turn with what came long after it."""
    per_step: int = 128
    """Games between two updates."""


class Reinforce(LoraMethod):
    """Each turn's discounted return, less the mean of all turns', on its tokens; one pass over the newest games."""

    def __init__(self, policy: Path, config: ReinforceConfig, *, seed: int) -> None:
        super().__init__(policy, learning_rate=config.learning_rate, per_step=config.per_step, seed=seed)
        self.config = config

    def learn(self, played: Sequence[Played]) -> Figures:
        """One pass. Nothing here can guess what a cut game would have come to, so it counts as ended."""
        turns = [turn for game in played for turn in transitions_of(game, on_policy=True)]
        ends = episode_ends(turns)
        rows, table = build_rows(turns, SHAPE.max_prompt_tokens), build_table(turns, self.actor.device)
        returns = monte_carlo_returns([turn.reward for turn in turns], ends, [0.0] * len(turns), self.config.gamma)
        advantage = normalise_advantages(torch.tensor(returns), FLAT_BELOW, float("inf"))[table.turn]
        steps = []
        for batch in self.minibatches(rows, self.config.minibatch_turns):
            in_batch = sum(len(row.spans) for row in batch)

            def objective(tokens: TokenBatch, logits: Tensor, in_batch: int = in_batch) -> Tensor:
                behaviour = table.behaviour_logprobs[tokens.table]
                ratio = SHAPE.max_importance_ratio
                return policy_gradient_loss(
                    logprobs_of(tokens, logits), behaviour, advantage[tokens.table], in_batch, ratio
                )

            steps.append(self.step(batch, objective))
        return {
            "steps": len(steps),
            "grad_norm": sum(step.grad_norm for step in steps) / len(steps),
            "return_mean": sum(returns) / len(returns),
        }

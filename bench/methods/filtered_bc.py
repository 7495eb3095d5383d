"""Filtered behaviour cloning: says more of what was said in the best recent games; knows no values."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.methods.method import Figures
from bench.methods.reinforce import SHAPE, LoraMethod, logprobs_of
from bench.playing.games import Played
from bench.playing.transitions import transitions_of
from worker.archer.losses import imitation_loss
from worker.archer.rows import build_rows
from worker.archer.types import TokenBatch

REPLAY = "replay.pickle"


@dataclass(frozen=True, slots=True)
class FilteredBCConfig:
    """Which games are imitated and how hard."""

    learning_rate: float = 1e-3
    """Adam's step: higher nears the best games sooner, and forgets the others."""
    share: float = 0.1
    """Share of the games in the window that is imitated: higher learns from more and from worse."""
    window: int | None = 1024
    """Newest games to choose from, as in the paper: more are of older policies. None takes all, as its code does."""
    passes: int = 2
    """Passes over the chosen games an update: more comes closer to them."""
    minibatch_turns: int = 512
    """Turns in a step: more gives fewer and steadier steps."""
    per_step: int = 128
    """Games between two updates."""


def best_games(games: Sequence[Played], share: float) -> list[Played]:
    """The games whose undiscounted return reaches the quantile 1 - `share`.

    Ties are included, so that they may be far more than `share` of the games: all of them if all returned alike.
    """
    returns = torch.tensor([game.total for game in games], dtype=torch.float64)
    cutoff = returns.quantile(1 - share, interpolation="higher").item()
    return [game for game in games if game.total >= cutoff]


class FilteredBC(LoraMethod):
    """Cross-entropy on every utterance of the best games of a window. Zhou et al. 2024's baseline: the top 10 %."""

    def __init__(self, policy: Path, config: FilteredBCConfig, *, seed: int) -> None:
        super().__init__(policy, learning_rate=config.learning_rate, per_step=config.per_step, seed=seed)
        self.config = config
        self.kept: list[Played] = []
        """All games that a later window may still hold."""

    def learn(self, played: Sequence[Played]) -> Figures:
        """Choose anew, then a few passes."""
        self.kept += played
        if self.config.window is not None:
            self.kept = self.kept[-self.config.window :]
        chosen = best_games(self.kept, self.config.share)
        turns = [turn for game in chosen for turn in transitions_of(game, on_policy=False)]
        rows = build_rows(turns, SHAPE.max_prompt_tokens)
        losses = []
        for _ in range(self.config.passes):
            for batch in self.minibatches(rows, self.config.minibatch_turns):
                in_batch = sum(len(row.spans) for row in batch)

                def objective(tokens: TokenBatch, logits: Tensor, in_batch: int = in_batch) -> Tensor:
                    return imitation_loss(logprobs_of(tokens, logits), torch.ones(len(logits)), in_batch)

                losses.append(self.step(batch, objective).loss)
        return {
            "steps": len(losses),
            "kept": len(self.kept),
            "chosen": len(chosen),
            "least_return_chosen": min(game.total for game in chosen),
            "nats_a_turn": sum(losses) / len(losses),
        }

    def save(self, folder: Path) -> None:
        """The games besides the state."""
        super().save(folder)
        (folder / REPLAY).write_bytes(pickle.dumps(self.kept))

    def restore(self, folder: Path) -> None:
        """Go on as if never stopped."""
        super().restore(folder)
        self.kept = pickle.loads((folder / REPLAY).read_bytes())

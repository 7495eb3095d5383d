"""What a method is to a benchmark: a policy that plays, and a step that learns from what was played."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bench.playing.games import Played, play
from sim.task import Task

Figures = dict[str, float | str | None]
"""What a step says of itself, for the curve's file."""


class Method(ABC):
    """Learns online: `per_step` conversations are played, then `learn` is called with them."""

    per_step: int
    """Conversations between two updates."""

    @property
    @abstractmethod
    def player(self) -> PreTrainedModel:
        """The policy as it is now, its adapter in use."""

    def play(
        self,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        seeds: Sequence[int],
        *,
        generator: torch.Generator,
        max_new_tokens: int,
    ) -> list[Played]:
        """These games as the method would play them now, to learn from and to be measured by."""
        return play(self.player, tokenizer, task, seeds, generator=generator, max_new_tokens=max_new_tokens)

    @abstractmethod
    def learn(self, played: Sequence[Played]) -> Figures:
        """One update from the newest conversations, and from older ones if the method keeps them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what an equal method needs to go on, replay included."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Take it over."""

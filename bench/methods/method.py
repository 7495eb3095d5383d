"""What a method is to a benchmark: a policy that plays, and a step that learns from what was played."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from bench.playing.games import Played

Figures = dict[str, float | str | None]
"""What a step says of itself, for the curve's file."""


class Method(ABC):
    """Learns online: `per_step` conversations are played with `player`, then `learn` is called with them."""

    per_step: int
    """Conversations between two updates."""

    @property
    @abstractmethod
    def player(self) -> PreTrainedModel:
        """The policy as it is now, its adapter in use."""

    @abstractmethod
    def learn(self, played: Sequence[Played]) -> Figures:
        """One update from the newest conversations, and from older ones if the method keeps them."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what an equal method needs to go on, replay included."""

    @abstractmethod
    def restore(self, folder: Path) -> None:
        """Take it over."""

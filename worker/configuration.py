"""What an agent's `learner` settings mean: the algorithm's hyper-parameters, and how many conversations a run takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.archer.config import ArcherConfig, ConfigError


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """Stored with the run, so that any version can be explained and made again."""

    archer: ArcherConfig
    min_conversations: int = 8
    """Fewest conversations with a new outcome that a run learns from."""
    max_conversations: int = 512
    """Most conversations that a run learns from, the newest outcomes first."""

    @classmethod
    def from_json(cls, learner: Mapping[str, object], *, discount: float) -> "RunConfiguration":
        """Raises ConfigError for an unknown name or a value without meaning."""
        hyper_parameters: dict[str, object] = {"gamma": discount, **learner}
        least = _count(hyper_parameters.pop("min_conversations", 8), "min_conversations")
        most = _count(hyper_parameters.pop("max_conversations", 512), "max_conversations")
        if most < least:
            raise ConfigError(f"max_conversations is {most}; it must be at least min_conversations, {least}.")
        return cls(ArcherConfig.from_json(hyper_parameters), least, most)

    def to_json(self) -> dict[str, object]:
        """Every field by name, as JSON values."""
        limits = {"min_conversations": self.min_conversations, "max_conversations": self.max_conversations}
        return {**self.archer.to_json(), **limits}


def _count(value: object, name: str) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number, 1 or more.")
    return value

"""What an agent's `learner` settings mean: a preset of the algorithm, what differs from it, how much a run takes."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.archer.config import ArcherConfig, ConfigError
from worker.archer.presets import PRESETS

DEFAULT_PRESET = "modern"


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """Stored with the run, so that any version can be explained and made again."""

    archer: ArcherConfig
    preset: str = DEFAULT_PRESET
    """The name that `archer` began with; its fields are stored too, so a preset may change and runs stay explained."""
    min_conversations: int = 8
    """Fewest conversations with a new outcome that a run learns from."""
    max_conversations: int = 512
    """Most conversations that a run learns from, the newest outcomes first."""

    @classmethod
    def from_json(cls, learner: Mapping[str, object], *, discount: float) -> "RunConfiguration":
        """The preset, then the agent's discount, then what is said. ConfigError for an unknown name or a bad value."""
        said = dict(learner)
        preset = said.pop("preset", DEFAULT_PRESET)
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigError(f"preset is {preset!r}; it must be {' or '.join(PRESETS)}.")
        hyper_parameters: dict[str, object] = {**PRESETS[preset].to_json(), "gamma": discount, **said}
        least = _count(hyper_parameters.pop("min_conversations", 8), "min_conversations")
        most = _count(hyper_parameters.pop("max_conversations", 512), "max_conversations")
        if most < least:
            raise ConfigError(f"max_conversations is {most}; it must be at least min_conversations, {least}.")
        return cls(ArcherConfig.from_json(hyper_parameters), preset, least, most)

    def to_json(self) -> dict[str, object]:
        """Every field by name, as JSON values."""
        return {
            **self.archer.to_json(),
            "preset": self.preset,
            "min_conversations": self.min_conversations,
            "max_conversations": self.max_conversations,
        }


def _count(value: object, name: str) -> int:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number, 1 or more.")
    return value

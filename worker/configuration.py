"""What an agent's `learner` settings mean: a preset of the algorithm, what differs from it, what a run reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.archer.config import ArcherConfig, ConfigError
from worker.archer.presets import PRESETS
from worker.replay.config import ReplayConfig

DEFAULT_PRESET = "modern"


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """Stored with the run, so that any version can be explained and made again."""

    archer: ArcherConfig
    replay: ReplayConfig
    preset: str = DEFAULT_PRESET
    """The name that `archer` began with; its fields are stored too, so a preset may change and runs stay explained."""

    @classmethod
    def from_json(cls, learner: Mapping[str, object], *, discount: float) -> "RunConfiguration":
        """The preset, then the agent's discount, then what is said. ConfigError for an unknown name or a bad value."""
        said = dict(learner)
        preset = said.pop("preset", DEFAULT_PRESET)
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigError(f"preset is {preset!r}; it must be {' or '.join(PRESETS)}.")
        replay = {name: said.pop(name) for name in ReplayConfig.names() & said.keys()}
        hyper_parameters: dict[str, object] = {**PRESETS[preset].to_json(), "gamma": discount, **said}
        return cls(ArcherConfig.from_json(hyper_parameters), ReplayConfig.from_json(replay), preset)

    def to_json(self) -> dict[str, object]:
        """Every field by name, as JSON values."""
        return {**self.archer.to_json(), **self.replay.to_json(), "preset": self.preset}

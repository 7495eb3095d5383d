"""What a run reads of an agent's history, in numbers; stored with each run beside the algorithm's own."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from worker.archer.config import ConfigError


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """The line under each field says what raising it does."""

    min_conversations: int = 8
    """Fewest conversations with a new outcome that a run learns from."""

    max_conversations: int = 512
    """Most conversations with an outcome that a run learns from: more hears rarer things and costs time."""

    reservoir_share: float = 0.25
    """Of them, those drawn by lot from the whole history: more forgets less and follows a change later."""

    unfinished_share: float = 0.25
    """Conversations without an outcome beside them, as a share of max_conversations: more shows the critic how people
    answer the newest versions. Their last turns, whose rewards nobody knows, are never used."""

    user_share: float = 0.02
    """Most that one end user may hold of what is drawn, or twice an equal share where few are drawn: lower keeps
    one loud user from steering the agent, and hears less of those who come often."""

    source_share: float = 1.0
    """Likewise for a source on which a conversation's outcome rests alone. 1 caps none: many agents have one source."""

    outlier_spreads: float | None = 3.0
    """How many times the middle nine tenths' width a reward may lie outside them, where a metric has no range of its
    own: lower trusts rare large rewards less; null trusts all."""

    max_outcome_weight: float = 4.0
    """Most that a turn may count above others where conversations of its kind seldom get an outcome; 1 weighs none."""

    max_actor_staleness: int = 16
    """Promotions after which what a version said trains the critic alone."""

    def __post_init__(self) -> None:
        for name in ("min_conversations", "max_conversations", "max_actor_staleness"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be a whole number, 1 or more.")
        if self.max_conversations < self.min_conversations:
            raise ConfigError(
                f"max_conversations is {self.max_conversations}; it must be at least min_conversations, "
                f"{self.min_conversations}."
            )
        for name in ("reservoir_share", "unfinished_share"):
            self._check(name, 0, 1, "from 0 to 1")
        for name in ("user_share", "source_share"):
            self._check(name, math.ulp(0), 1, "above 0, at most 1")
        self._check("max_outcome_weight", 1, math.inf, "1 or more")
        if self.outlier_spreads is not None:
            self._check("outlier_spreads", 0, math.inf, "0 or more, or null to trust all")

    def _check(self, name: str, low: float, high: float, expected: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name} is {value!r}; it must be a number, {expected}.")
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value!r}; it must be {expected}.")

    @classmethod
    def names(cls) -> set[str]:
        """Its fields."""
        return {field.name for field in dataclasses.fields(cls)}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "ReplayConfig":
        """The config with these fields, the others at their defaults."""
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks each type at run time

    def to_json(self) -> dict[str, object]:
        """Every field by name, as JSON values."""
        return dataclasses.asdict(self)

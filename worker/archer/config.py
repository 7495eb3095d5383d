"""Every hyper-parameter of the algorithm; never read from the environment, stored as JSON with each run."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass


class ConfigError(ValueError):
    """A hyper-parameter has no meaning as given; the message names it and says what would."""


@dataclass(frozen=True, slots=True)
class ArcherConfig:
    """What is learned and how hard; the line under each field says what raising it does."""

    gamma: float = 0.95
    """Discount a turn: higher lets early turns feel an outcome that came many turns later."""

    tau: float = 0.1
    """Polyak step of the targets after each critic step: higher follows faster and damps less; 1 copies."""

    critic_lr: float = 3e-4
    """Step of the twin heads: higher fits an update's turns sooner and forgets older ones sooner."""

    critic_weight_decay: float = 0.1
    """Pull of the heads' weights to zero: higher makes Q and V smoother over states nobody repeats."""

    critic_steps: int = 50
    """Optimiser steps of the critic an update: more carries a last turn's reward further back, and memorises more."""

    critic_batch_turns: int = 64
    """Turns in a critic step: more gives a steadier gradient for more time."""

    critic_hidden: int = 32
    """Width of the heads: higher can tell more states apart, and memorises more."""

    train_encoder: bool = False
    """True trains the encoder with the heads: finer features, many times the critic's time, a target copy of it."""

    encoder_lr: float = 2e-5
    """Step of the encoder where it is trained: higher moves its features faster away from their pretraining."""

    max_encoder_tokens: int = 256
    """Longest text the encoder reads, cut on the left (the newest words stay): higher sees more, costs more."""

    actor_lr: float = 3e-4
    """Step of the LoRA: higher changes the replies more an update, and spends the KL budget sooner."""

    actor_epochs: int = 3
    """Passes over the turns an update: more learns more from the same turns, further from the policy that spoke."""

    actor_batch_turns: int = 256
    """Turns in an actor step: more gives fewer and steadier steps."""

    lora_rank: int = 8
    """Rank of a fresh adapter: higher can change the model in more directions, in a larger file."""

    lora_alpha: int = 16
    """Scale of a fresh adapter: higher makes each step larger."""

    max_importance_ratio: float = 2.0
    """Truncation c of π/μ, on tokens and on turns: higher is less biased and noisier on stale turns."""

    max_advantage: float = 3.0
    """Bound of a normalised advantage: higher lets a single exceptional turn weigh more."""

    kl_budget: float | None = 0.1
    """Nats a token the adapter may move from where it started: higher permits bolder updates; None never stops one."""

    kl_check_share: float = 0.25
    """Share of the micro-batches measured again after the last step: higher makes the final KL surer and dearer."""

    max_grad_norm: float = 1.0
    """Bound of each network's gradient norm: higher lets rare large gradients through."""

    max_tokens_per_microbatch: int = 1024
    """Tokens, padding included, in one forward pass: higher is faster until memory ends."""

    max_prompt_tokens: int = 2048
    """Longest prompt kept, cut on the left: higher keeps more context at more time and memory."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_type(field.name, field.type)
        for name in ("tau", "kl_check_share"):
            self._check(name, 0 < getattr(self, name) <= 1, "above 0, at most 1")
        self._check("gamma", 0 <= self.gamma <= 1, "from 0 to 1")
        self._check("critic_weight_decay", self.critic_weight_decay >= 0, "0 or more")
        self._check("max_importance_ratio", self.max_importance_ratio >= 1, "1 or more")
        self._check("kl_budget", self.kl_budget is None or self.kl_budget > 0, "above 0, or null for no budget")
        for name in ("critic_lr", "encoder_lr", "actor_lr", "max_advantage", "max_grad_norm"):
            self._check(name, getattr(self, name) > 0, "above 0")
        for field in dataclasses.fields(self):
            if field.type is int:
                self._check(field.name, getattr(self, field.name) >= 1, "1 or more")

    def _check_type(self, name: str, kind: object) -> None:
        value = getattr(self, name)
        if kind is bool or kind is int:
            # bool is an int to Python; 3.0 epochs or True turns are a mistake of whoever wrote the file.
            self._check(name, type(value) is kind, "true or false" if kind is bool else "a whole number")
        elif value is not None or kind is float:
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            self._check(name, is_number, "a finite number")

    def _check(self, name: str, is_valid: bool, expected: str) -> None:
        if not is_valid:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be {expected}.")

    def to_json(self) -> dict[str, bool | int | float | None]:
        """Every field by name, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "ArcherConfig":
        """The config with these fields, the others at their defaults; an unknown name is refused, not ignored."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"Unknown hyper-parameters: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
        return cls(**values)  # type: ignore[arg-type] # __post_init__ checks each type at run time

"""Which methods are compared and with what settings, by name; settings are fixed here before a curve is run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.methods.archer import Archer
from bench.methods.chai import Chai, ChaiConfig
from bench.methods.filtered_bc import FilteredBC, FilteredBCConfig
from bench.methods.method import Method
from bench.methods.ppo import PPOConfig, TokenPPO, TurnPPO
from bench.methods.reinforce import Reinforce, ReinforceConfig
from worker.archer.config import ArcherConfig
from worker.archer.presets import FAITHFUL, MODERN

# What a small model is trained with, whatever the method: the same adapter, the same passes.
SHAPE: dict[str, Any] = {"lora_rank": 16, "lora_alpha": 32, "max_tokens_per_microbatch": 2048, "max_new_tokens": 16}
PER_STEP, REPLAY = 96, 192

WITHOUT_LEAP = replace(
    MODERN, **SHAPE, critic_steps=200, critic_lr=3e-3, actor_lr=5e-4, actor_epochs=3, actor_batch_turns=512
)
# A leap moves some 0.15 nats a token; no later update comes near either budget.
SMALL_MODERN = replace(WITHOUT_LEAP, leap_epochs=40, candidates=8, kl_budget=0.5)
SMALL_FAITHFUL = replace(FAITHFUL, **SHAPE, actor_lr=1e-3, critic_lr=1e-3, reader_lr=1e-3)


@dataclass(frozen=True, slots=True)
class Compared:
    """A method as it takes part: how to build it on a policy with a seed, and what to write down of it."""

    build: Callable[[Path, int], Method]
    described: dict[str, Any]


def archer(config: ArcherConfig, *, per_step: int = PER_STEP, replay: int = REPLAY, **rest: Any) -> Compared:
    """ArCHer in this configuration."""
    settings = {"per_step": per_step, "replay": replay, **rest}
    return Compared(
        lambda policy, seed: Archer(policy, config, seed=seed, **settings), {**config.to_json(), **settings}
    )


def baseline(kind: Callable[..., Method], config: Any) -> Compared:
    """A baseline with its own settings."""
    return Compared(lambda policy, seed: kind(policy, config, seed=seed), asdict(config))


METHODS: dict[str, Compared] = {
    "archer": archer(SMALL_MODERN),
    "faithful": archer(SMALL_FAITHFUL, per_step=128, replay=600),
    "ppo-turn": baseline(TurnPPO, PPOConfig()),
    "ppo-token": baseline(TokenPPO, PPOConfig()),
    "reinforce": baseline(Reinforce, ReinforceConfig()),
    "filtered-bc": baseline(FilteredBC, FilteredBCConfig()),
    "chai": baseline(Chai, ChaiConfig()),
}

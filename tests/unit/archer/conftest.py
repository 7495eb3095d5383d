"""A tiny actor and critic, fresh for each test from folders written once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.tiny_encoder import write_tiny_encoder
from tests.fixtures.tiny_model import write_tiny_adapter, write_tiny_model
from tests.unit.archer.networks import Networks
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.critic import build_critic
from worker.archer.learner import Learner


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    return write_tiny_adapter(tmp_path_factory.mktemp("adapter"), model_folder)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def config() -> ArcherConfig:
    """The plainest learner. Everything that moves a weight is named, so that new defaults do not move the tests."""
    return ArcherConfig(
        gamma=0.95,
        critic_reader="encoder",
        critic_encoding="split",
        train_reader=False,
        max_encoder_tokens=256,
        critic_head="scalar",
        critic_ensemble=2,
        critic_hidden=16,
        trace="none",
        lam=0.95,
        value="weighted_mean",
        pessimistic_targets=False,
        tau=0.1,
        critic_lr=1e-3,
        critic_weight_decay=0.0,
        critic_steps=5,
        critic_batch_turns=64,
        held_out_share=0.0,
        critic_gate=None,
        probed_states=8,
        warmup_updates=0,
        actor_objective="reinforce",
        actor_utterances="logged",
        max_new_tokens=4,
        actor_advantage="critic",
        actor_lam=0.95,
        leap_epochs=0,
        actor_lr=1e-4,
        actor_epochs=2,
        actor_batch_turns=256,
        normalise_advantages=True,
        max_advantage=3.0,
        max_importance_ratio=2.0,
        stale_negative_weight=1.0,
        scale_lr_by_ess=False,
        kl_coefficient=0.0,
        kl_budget=None,
        kl_check_share=0.25,
        token_baseline=False,
        demonstration_weight=1.0,
        demonstration_margin=0.5,
        lora_rank=8,
        lora_alpha=16,
        max_grad_norm=1.0,
        max_tokens_per_microbatch=1024,
        max_prompt_tokens=2048,
        max_completion_tokens=2048,
    )


@pytest.fixture
def make_learner(model_folder: Path, encoder_folder: Path) -> Callable[..., Learner]:
    def make(config: ArcherConfig, *, seed: int = 0, adapter: Path | None = None) -> Learner:
        actor = Actor.from_pretrained(model_folder, config, adapter=adapter, seed=seed)
        critic = build_critic(actor, encoder_folder, config, seed=seed)
        return Learner(actor, critic, config, decode=lambda ids: " ".join(map(str, ids)), seed=seed)

    return make


@pytest.fixture
def networks_with(model_folder: Path, encoder_folder: Path, config: ArcherConfig) -> Callable[..., Networks]:
    def build(**changes: object) -> Networks:
        return Networks(model_folder, encoder_folder, replace(config, **changes))  # type: ignore[arg-type]

    return build


@pytest.fixture
def networks(networks_with: Callable[..., Networks]) -> Networks:
    return networks_with()

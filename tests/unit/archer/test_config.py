"""What a configuration accepts, and that it survives JSON."""

import ast
import inspect
import json
from dataclasses import fields
from itertools import pairwise

import pytest

from worker.archer import config as module
from worker.archer.config import ArcherConfig, ConfigError
from worker.archer.presets import PRESETS


def test_a_configuration_survives_json():
    changed = ArcherConfig(gamma=0.9, kl_budget=None, train_reader=True)
    assert ArcherConfig.from_json(json.loads(json.dumps(changed.to_json()))) == changed


def test_missing_names_take_their_defaults():
    assert ArcherConfig.from_json({"actor_epochs": 7}) == ArcherConfig(actor_epochs=7)


def test_an_unknown_name_is_refused_and_named():
    with pytest.raises(ConfigError, match="Unknown hyper-parameters: actor_learning_rate"):
        ArcherConfig.from_json({"actor_learning_rate": 1e-4})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 1.1),
        ("gamma", -0.1),
        ("gamma", float("nan")),
        ("gamma", "0.9"),
        ("tau", 0.0),
        ("actor_lr", 0.0),
        ("actor_lr", None),
        ("actor_lr", float("inf")),
        ("actor_epochs", 0),
        ("actor_epochs", 1.5),
        ("actor_epochs", True),
        ("train_reader", 1),
        ("kl_budget", 0.0),
        ("kl_budget", True),
        ("max_importance_ratio", 0.5),
        ("critic_weight_decay", -1.0),
        ("kl_check_share", 1.5),
        ("lam", 1.01),
        ("expectile", 1.0),
        ("clip_low", 1.0),
        ("clip_high", 0.0),
        ("awr_beta", 0.0),
        ("held_out_share", 1.0),
        ("critic_gate", 1.5),
        ("critic_ensemble", 0),
        ("warmup_updates", -1),
        ("stale_negative_weight", -0.1),
        ("kl_coefficient", -1.0),
        ("demonstration_weight", -0.5),
        ("demonstration_margin", -0.5),
        ("critic_reader", "roberta"),
        ("critic_head", None),
        ("trace", True),
    ],
)
def test_a_value_without_meaning_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"^{name} is"):
        ArcherConfig.from_json({name: value})


EDGES = [
    ("gamma", 0),
    ("gamma", 1),
    ("tau", 1),
    ("kl_budget", None),
    ("critic_gate", None),
    ("critic_gate", -1),
    ("held_out_share", 0),
    ("warmup_updates", 0),
    ("probed_states", 0),
    ("stale_negative_weight", 0),
    ("demonstration_weight", 0),
    ("demonstration_margin", 0),
]


@pytest.mark.parametrize(("name", "value"), EDGES)
def test_the_edges_that_mean_something_are_accepted(name, value):
    assert getattr(ArcherConfig.from_json({name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("actor_utterances", {"actor_objective": "imitation", "actor_utterances": "logged"}),
        ("critic_reader", {"token_baseline": True, "critic_reader": "encoder"}),
    ],
)
def test_what_cannot_go_together_is_refused_by_name(name, changes):
    with pytest.raises(ConfigError, match=f"^{name} is .* where "):
        ArcherConfig.from_json(changes)


def test_a_preset_survives_json_and_differs_from_the_others():
    for preset in PRESETS.values():
        assert ArcherConfig.from_json(json.loads(json.dumps(preset.to_json()))) == preset
    assert len(set(PRESETS.values())) == len(PRESETS) == 3


def test_every_hyper_parameter_says_what_raising_it_does():
    body = ast.parse(inspect.getsource(module.ArcherConfig)).body[0].body
    documented = {
        field.target.id
        for field, line in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    }
    assert documented == {field.name for field in fields(ArcherConfig)}

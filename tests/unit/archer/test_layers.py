"""Layers that are computed again in the backward pass: the same gradients for less memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.actor import Actor
from worker.archer.layers import repeated_layers
from worker.archer.rows import build_rows, build_table, collate

TURNS = dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0)) + dialogue("c", (0.5,))
TRAINED = {"critic_reader": "policy", "train_reader": True, "reader_lr": 1e-3}
LEARNERS = {
    "reader in the policy's model": TRAINED | {"critic_encoding": "joint", "kl_coefficient": 0.1},
    "replies read apart": TRAINED | {"critic_encoding": "split"},
    "fresh utterances": {"value": "sampled", "actor_utterances": "fresh", "max_new_tokens": 4},
}


@pytest.mark.parametrize("changes", LEARNERS.values(), ids=LEARNERS)
def test_an_update_is_the_same_with_layers_computed_again(make_learner, config, changes):
    chosen = replace(config, critic_gate=None, held_out_share=0.0, actor_lr=1e-3, **changes)
    plain, again = make_learner(chosen), make_learner(replace(chosen, gradient_checkpointing=True))
    before = plain.actor.adapter_state()
    for learner in (plain, again):
        assert learner.update(TURNS).actor_skipped is None
    assert any(not torch.equal(weight, before[name]) for name, weight in plain.actor.adapter_state().items())
    assert_close(again.actor.adapter_state(), plain.actor.adapter_state())
    assert_close(again.critic.state(), plain.critic.state())


@pytest.mark.parametrize(("again", "passes"), [(False, 1), (True, 2)])
def test_a_layer_runs_once_more_for_its_gradient_and_for_nothing_else(model_folder, config, again, passes):
    actor = Actor.from_pretrained(model_folder, replace(config, gradient_checkpointing=again))
    runs = []
    repeated_layers(actor.model)[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    tokens = collate(build_rows(TURNS, 100), actor.device)
    temperature = build_table(TURNS, actor.device).temperature
    with torch.no_grad():
        actor.logprobs(tokens, temperature)
    assert len(runs) == 1
    actor.logprobs(tokens, temperature).sum().backward()
    assert len(runs) == 1 + passes


def test_the_layers_of_a_model_that_names_none_are_not_guessed():
    with pytest.raises(ValueError, match=r"Sequential does not say .* \(_no_split_modules\)"):
        repeated_layers(nn.Sequential(nn.Linear(1, 1)))

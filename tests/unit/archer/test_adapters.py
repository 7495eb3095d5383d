"""Several adapters on one base model: what one learns, no other feels."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.actor import ADAPTER, Actor
from worker.archer.adapters import adapter_parameters, add_adapter, copy_adapter, using
from worker.archer.rows import build_rows, build_table, collate
from worker.archer.token_reader import CRITIC, CRITIC_TARGET

IDS = torch.tensor([[1, 2, 3, 4]])
TURNS = dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0))


@pytest.fixture
def model(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder).model


@pytest.fixture
def token_config(config):
    return replace(
        config, critic_reader="policy", critic_encoding="joint", train_reader=True, reader_lr=1e-3, probed_states=0
    )


def weights(model, adapter):
    return {name: weight.detach().clone() for name, weight in adapter_parameters(model, adapter).items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


def enlivened(learner):
    """With a critic and a target away from zero, as after some updates."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in learner.critic.trained().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    learner.target.load_state(learner.critic.state())
    return learner


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_fresh_adapter_equals_the_base_and_leaves_the_one_in_use(model):
    before = logits(model)
    add_adapter(model, "second", like=ADAPTER)
    assert model.active_adapter == ADAPTER
    assert torch.equal(logits(model), before)
    with model.disable_adapter():
        base = logits(model)
    with using(model, "second"):
        assert torch.equal(logits(model), base)
    assert not torch.allclose(base, before)
    shapes = {name: weight.shape for name, weight in adapter_parameters(model, ADAPTER).items()}
    assert {name: weight.shape for name, weight in adapter_parameters(model, "second").items()} == shapes


def test_a_copy_says_the_same_and_stays_when_the_original_moves(model):
    add_adapter(model, "second", like=ADAPTER)
    copy_adapter(model, ADAPTER, "second")
    said = logits(model)
    with torch.no_grad():
        for weight in adapter_parameters(model, ADAPTER).values():
            weight.mul_(2)
    assert not torch.allclose(logits(model), said)
    with using(model, "second"):
        assert torch.equal(logits(model), said)


def test_the_adapter_before_is_in_use_again_even_after_an_error(model):
    add_adapter(model, "second", like=ADAPTER)
    with pytest.raises(RuntimeError, match="broken"), using(model, "second"):
        raise RuntimeError("broken")
    assert model.active_adapter == ADAPTER
    with using(model, "second"), using(model, ADAPTER):
        assert model.active_adapter == ADAPTER
    assert model.active_adapter == ADAPTER


def test_only_the_adapter_in_use_takes_a_gradient(model):
    add_adapter(model, "second", like=ADAPTER)
    with using(model, "second"):
        model(input_ids=IDS).logits.square().mean().backward()
    assert any(weight.grad is not None for weight in adapter_parameters(model, "second").values())
    assert all(weight.grad is None for weight in adapter_parameters(model, ADAPTER).values())
    model(input_ids=IDS).logits.square().mean().backward()
    assert all(weight.grad is not None for weight in adapter_parameters(model, ADAPTER).values())


def test_an_adapters_names_are_the_same_whatever_it_is_called(model):
    add_adapter(model, "second", like=ADAPTER)
    ours = adapter_parameters(model, ADAPTER)
    assert ours.keys() == adapter_parameters(model, "second").keys()
    assert {id(weight) for weight in ours.values()}.isdisjoint(
        id(weight) for weight in adapter_parameters(model, "second").values()
    )
    assert all("lora_" in name for name in ours)


def test_the_critics_steps_leave_the_actors_weights_and_gradients(make_learner, token_config, adapter_folder):
    learner = make_learner(replace(token_config, warmup_updates=1), adapter=adapter_folder)
    model = learner.actor.model
    before, said = weights(model, ADAPTER), logits(model)
    critic, target = weights(model, CRITIC), weights(model, CRITIC_TARGET)
    learner.update(TURNS)
    assert same(weights(model, ADAPTER), before)
    assert torch.equal(logits(model), said)
    assert all(weight.grad is None for weight in adapter_parameters(model, ADAPTER).values())
    assert all(weight.grad is None for weight in adapter_parameters(model, CRITIC_TARGET).values())
    assert not same(weights(model, CRITIC), critic)
    assert not same(weights(model, CRITIC_TARGET), target)


def test_the_actors_steps_leave_the_critics_weights(make_learner, token_config, adapter_folder):
    # The critic's pace is too slow to move a float32, so whatever moves was moved by the actor's steps.
    slow = replace(token_config, critic_lr=1e-30, reader_lr=1e-30, critic_steps=1, kl_coefficient=0.1)
    learner = enlivened(make_learner(slow, adapter=adapter_folder))
    model = learner.actor.model
    actor, critic, target = (weights(model, name) for name in (ADAPTER, CRITIC, CRITIC_TARGET))
    figures = learner.update(TURNS)
    assert figures.actor_skipped is None
    assert not same(weights(model, ADAPTER), actor)
    assert same(weights(model, CRITIC), critic)
    assert same(weights(model, CRITIC_TARGET), target)


def test_the_base_model_never_moves(make_learner, token_config):
    learner = make_learner(replace(token_config, kl_coefficient=0.1, probed_states=4))
    base = {name: weight.clone() for name, weight in learner.actor.model.named_parameters() if "lora_" not in name}
    learner.update(TURNS)
    for name, weight in learner.actor.model.named_parameters():
        assert name not in base or torch.equal(weight, base[name])


def test_the_target_adapter_follows_by_polyak_after_each_step(make_learner, token_config):
    # One step: θ̄ = (1-τ) θ₀ + τ θ₁, and both started at θ₀.
    learner = enlivened(make_learner(replace(token_config, critic_steps=1, tau=0.25, warmup_updates=1)))
    model = learner.actor.model
    start = weights(model, CRITIC)
    assert same(weights(model, CRITIC_TARGET), start)
    learner.update(TURNS)
    after, target = weights(model, CRITIC), weights(model, CRITIC_TARGET)
    for name, weight in target.items():
        assert_close(weight, 0.75 * start[name] + 0.25 * after[name])
    assert max((after[name] - start[name]).abs().max() for name in start) > 1e-4


def test_the_saved_adapter_is_the_actors_alone(make_learner, token_config, tmp_path, model_folder, config):
    learner = make_learner(replace(token_config, kl_coefficient=0.1))
    learner.update(TURNS)
    learner.actor.save_adapter(tmp_path)
    again = Actor.from_pretrained(model_folder, config, adapter=tmp_path)
    assert same(again.adapter_state(), learner.actor.adapter_state())
    table = build_table(TURNS, torch.device("cpu"))
    batch = collate(build_rows(TURNS, 100), torch.device("cpu"))
    with torch.no_grad():
        said = [actor.logprobs(batch, table.temperature[batch.table]) for actor in (again, learner.actor)]
    assert_close(said[0], said[1])

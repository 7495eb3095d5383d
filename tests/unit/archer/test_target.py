"""The target critic follows, and is never trained."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from worker.archer.actor import Actor
from worker.archer.critic import build_critic
from worker.archer.target import TargetCritic

READERS = [{}, {"train_reader": True}, {"critic_reader": "policy", "train_reader": True}]


@pytest.fixture(params=READERS, ids=["frozen encoder", "trained encoder", "policy"])
def critic(request, model_folder, encoder_folder, config):
    changed = replace(config, **request.param)
    return build_critic(Actor.from_pretrained(model_folder, changed), encoder_folder, changed)


def moved(critic):
    with torch.no_grad():
        for parameter in critic.trained().values():
            parameter.add_(1.0)
    return critic


@pytest.mark.parametrize(("tau", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_a_polyak_step_goes_tau_of_the_way_for_heads_and_reader(critic, tau, share):
    target = TargetCritic(critic)
    before = {name: parameter.clone() for name, parameter in target.trained().items()}
    assert before.keys() == critic.trained().keys()
    target.polyak_step(moved(critic), tau)
    for name, parameter in target.trained().items():
        assert_close(parameter, before[name] + share)


def test_a_target_starts_where_its_critic_is(critic):
    moved(critic)
    target = TargetCritic(critic)
    assert all(torch.equal(weight, target.trained()[name]) for name, weight in critic.trained().items())
    assert all(weight is not target.trained()[name] for name, weight in critic.trained().items())


def test_the_targets_values_train_nobody(critic):
    heads = TargetCritic(critic).heads
    features = torch.randn(2, heads.action_width)
    assert not heads.q_logits(features).requires_grad
    assert not heads.v_logits(features[:, : heads.state_width]).requires_grad


def test_units_are_taken_over_at_once(critic):
    target = TargetCritic(critic)
    for unit in critic.heads.buffers():
        unit.copy_(torch.rand(unit.shape) > 0.5 if unit.dtype == torch.bool else torch.rand(unit.shape))
    target.copy_units(critic)
    for unit, taken in zip(critic.heads.buffers(), target.heads.buffers(), strict=True):
        assert torch.equal(unit, taken)

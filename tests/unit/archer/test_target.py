"""The target critic follows, and cannot be trained."""

import pytest
import torch
from torch.testing import assert_close

from worker.archer.critic import DoubleCritic
from worker.archer.target import TargetCritic


@pytest.fixture
def critic(encoder_folder, config):
    return DoubleCritic.from_pretrained(encoder_folder, config)


def moved(critic):
    with torch.no_grad():
        for parameter in critic.heads.parameters():
            parameter.add_(1.0)
    return critic


@pytest.mark.parametrize(("tau", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_a_polyak_step_goes_tau_of_the_way(critic, tau, share):
    target = TargetCritic(critic)
    before = [parameter.clone() for parameter in target.network.heads.parameters()]
    target.polyak_step(moved(critic), tau)
    for old, new in zip(before, target.network.heads.parameters(), strict=True):
        assert_close(new, old + share)


def test_a_target_cannot_be_put_in_training_nor_take_a_gradient(critic):
    target = TargetCritic(critic)
    with pytest.raises(TypeError, match="never trained"):
        target.train()
    assert target.eval() is target
    assert not any(parameter.requires_grad for parameter in target.parameters())
    features = torch.randn(2, critic.encoder.width, requires_grad=True)
    assert not target.q(features, features).requires_grad
    assert not target.v(features).requires_grad


def test_a_frozen_encoder_is_shared_and_a_trained_one_copied(encoder_folder, config, critic):
    assert TargetCritic(critic).network.encoder is critic.encoder
    critic.trains_encoder = True
    assert TargetCritic(critic).network.encoder is not critic.encoder


def test_units_are_taken_over_at_once(critic):
    target = TargetCritic(critic)
    critic.heads.calibrate(torch.tensor([0.0, 10.0]))
    target.copy_units(critic)
    assert target.network.heads.shift.item() == 5.0
    assert target.network.heads.scale.item() == 5.0

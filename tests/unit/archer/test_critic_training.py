"""The critic's losses against a slow loop over one dialogue at a time, and the gradients that stay out."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.critic import DoubleCritic
from worker.archer.critic_training import critic_losses
from worker.archer.episodes import index_texts
from worker.archer.target import TargetCritic

TURNS = [*dialogue("a", (0.0, 0.5, 1.0)), *dialogue("b", (2.0,)), *dialogue("c", (0.0, -1.0), terminal=False)]
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.25, 1.5])


@pytest.fixture
def networks(encoder_folder, config):
    critic = DoubleCritic.from_pretrained(encoder_folder, config, seed=1)
    critic.heads.calibrate(torch.tensor([0.0, 2.0]))
    scatter(critic, seed=2)
    target = TargetCritic(critic)
    scatter(target.network, seed=3)
    return critic, target


def scatter(critic, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in critic.heads.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))


def fast_loss(critic, target, config):
    texts, batch = index_texts(TURNS, WEIGHT, torch.device("cpu"))
    return sum(critic_losses(critic, target, texts, batch, critic.encode(texts).detach(), config))


def slow_loss(critic, target, config):
    """The equations as written, one turn and one twin after the other."""
    q_total, v_total = 0.0, 0.0
    for twin in (0, 1):
        for each, weight in zip(TURNS, WEIGHT, strict=True):
            observation, utterance = critic.encode([each.observation]), critic.encode([each.utterance])
            y = each.reward
            if not each.terminal:
                y = y + config.gamma * target.v(critic.encode([each.next_observation]))[twin, 0]
            q = critic.q(observation, utterance)[twin, 0]
            v = critic.v(observation)[twin, 0]
            q_total = q_total + (q - y) ** 2 / len(TURNS)
            v_total = v_total + weight * (v - target.q(observation, utterance)[twin, 0]) ** 2 / WEIGHT.sum()
    return (q_total + v_total) / critic.heads.scale**2


def test_the_batched_losses_and_gradients_are_those_of_a_slow_loop(networks, config):
    critic, target = networks
    results = []
    for loss in (fast_loss, slow_loss):
        critic.zero_grad()
        value = loss(critic, target, config)
        value.backward()
        results.append((value.detach(), torch.cat([w.grad.flatten() for w in critic.heads.parameters()])))
    assert results[0][0] > 0.1
    assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_targets_or_the_frozen_encoder(networks, config):
    critic, target = networks
    fast_loss(critic, target, config).backward()
    assert all(weight.grad is None for weight in target.network.parameters())
    assert all(weight.grad is None for weight in critic.encoder.parameters())
    assert all(weight.grad is not None for weight in critic.heads.parameters())


def test_gamma_zero_makes_q_forget_what_follows(networks, config):
    critic, target = networks
    short_sighted = replace(config, gamma=0.0)
    before = fast_loss(critic, target, short_sighted)
    with torch.no_grad():
        for head in target.network.heads.v:
            head.layers[-1].bias.add_(100.0)
    assert_close(fast_loss(critic, target, short_sighted), before)
    assert fast_loss(critic, target, config) > before + 1.0


def test_an_encoder_that_is_trained_sees_the_same_loss(networks, config):
    critic, target = networks
    texts, batch = index_texts(TURNS, WEIGHT, torch.device("cpu"))
    frozen = fast_loss(critic, target, config)
    assert_close(sum(critic_losses(critic, target, texts, batch, None, config)), frozen, rtol=1e-4, atol=1e-5)

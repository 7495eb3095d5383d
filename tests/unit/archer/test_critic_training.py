"""The critic's losses against a slow loop over one turn at a time, and what a step holds."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.unit.archer.networks import EVERY, READERS
from worker.archer.critic_training import train_critic


@pytest.mark.parametrize("changes", READERS.values(), ids=READERS)
def test_the_batched_losses_and_gradients_are_those_of_a_slow_loop(networks_with, changes):
    networks = networks_with(**changes)
    results = []
    for loss in (networks.fast, networks.slow):
        networks.forget_gradients()
        results.append((loss(), networks.gradients()))
    assert results[0][0] > 0.1
    assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("changes", READERS.values(), ids=READERS)
def test_how_a_step_is_split_into_passes_changes_nothing(networks_with, changes):
    whole, split = networks_with(**changes), networks_with(**changes, max_tokens_per_microbatch=16)
    assert whole.fast() == pytest.approx(split.fast(), rel=1e-4)
    assert_close(whole.gradients(), split.gradients(), rtol=1e-3, atol=1e-4)


def test_no_gradient_reaches_the_targets_or_a_frozen_reader(networks):
    networks.fast()
    assert all(weight.grad is None for weight in networks.target.trained().values())
    assert all(weight.grad is None for weight in networks.critic.reader.encoder.parameters())
    assert all(weight.grad is not None for weight in networks.critic.heads.parameters())


@pytest.mark.parametrize("changes", list(READERS.values())[1:], ids=list(READERS)[1:])
def test_no_gradient_reaches_the_targets_of_a_reader_that_is_trained(networks_with, changes):
    networks = networks_with(**changes)
    networks.fast()
    assert all(weight.grad is None for weight in networks.target.trained().values())
    moved = [weight.grad.any() for weight in networks.critic.reader.trained().values() if weight.grad is not None]
    assert sum(moved) > len(moved) / 2


def test_gamma_zero_makes_q_forget_what_follows(networks):
    before = networks.fast(gamma=0.0)
    with torch.no_grad():
        for head in networks.target.heads.v:
            head.layers[-1].bias.add_(100.0)
    assert networks.fast(gamma=0.0) == pytest.approx(before)
    assert networks.fast() > before + 1.0


def test_a_trained_encoder_sees_the_same_loss_as_a_frozen_one(networks, networks_with):
    trained = networks_with(train_reader=True)
    state = {name: weight for name, weight in networks.critic.state().items() if not name.startswith("reader")}
    slow = {name: weight for name, weight in networks.target.state().items() if not name.startswith("reader")}
    encoder = {f"reader.{name}": w for name, w in networks.critic.reader.encoder.named_parameters()}
    trained.critic.load_state(state | encoder)
    trained.target.load_state(slow | encoder)
    assert trained.fast() == pytest.approx(networks.fast(), rel=1e-4)


def steps_of(networks, batch, count, episodes=None):
    """The turns of each step."""
    seen = []

    def watch(turns):
        seen.append(list(turns))
        return torch.zeros(2, len(turns))

    config = replace(networks.config, critic_steps=count, critic_batch_turns=batch, value="sampled")
    lessons = networks.lessons(fresh_values=watch)
    lessons = lessons if episodes is None else lessons._replace(episodes=episodes)
    optimiser = torch.optim.SGD(networks.critic.heads.parameters(), lr=0.0)
    train_critic(networks.critic, networks.target, optimiser, lessons, config, torch.Generator().manual_seed(0))
    return seen


def test_a_step_holds_whole_episodes_and_no_turn_twice(networks):
    episodes = [[0, 1, 2], [3], [4, 5]]
    for step in steps_of(networks, batch=3, count=12):
        assert 1 <= len(step) <= 5
        assert len(set(step)) == len(step)
        assert all(set(episode) <= set(step) or not set(episode) & set(step) for episode in episodes)


def test_every_episode_is_seen_once_a_pass(networks):
    steps = steps_of(networks, batch=1, count=6)
    assert sorted(turn for step in steps[:3] for turn in step) == list(EVERY)
    assert sorted(turn for step in steps[3:] for turn in step) == list(EVERY)
    assert all(sorted(step) == list(EVERY) for step in steps_of(networks, batch=64, count=2))


def test_only_the_episodes_given_are_learned_from(networks):
    assert {turn for step in steps_of(networks, 64, 3, [range(3), range(4, 6)]) for turn in step} == {0, 1, 2, 4, 5}


def test_the_target_follows_each_step(networks):
    start = {name: weight.clone() for name, weight in networks.target.trained().items()}
    still = {name: weight.clone() for name, weight in networks.critic.trained().items()}
    networks.config = replace(networks.config, tau=0.5)
    steps_of(networks, batch=64, count=2)  # its optimiser has no pace, so the critic stands still
    for name, weight in networks.target.trained().items():
        assert_close(weight, 0.25 * start[name] + 0.75 * still[name])

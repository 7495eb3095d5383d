"""A critic before it learns, what decides its weights, and what it hands to a checkpoint."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.actor import Actor
from worker.archer.critic import build_critic
from worker.archer.text_reader import EncoderError, TextReader
from worker.archer.token_reader import TokenReader

TURNS = dialogue("a", (0.0, 1.0))


@pytest.fixture
def build(model_folder, encoder_folder, config):
    def build_from(seed=0, encoder=encoder_folder, **changes):
        changed = replace(config, **changes)
        return build_critic(Actor.from_pretrained(model_folder, changed), encoder, changed, seed=seed)

    return build_from


@pytest.mark.parametrize("head", ["scalar", "two_hot"])
def test_before_it_learns_a_critic_values_all_replies_alike_at_the_mean_return(build, head):
    critic = build(critic_head=head)
    critic.heads.shift.fill_(20.0)
    critic.heads.scale.fill_(10.0)
    features = critic.reader.read(critic.reader.index(TURNS), [0, 1], following=True)
    for values in (critic.q(features), critic.v(features), critic.v_following(features)):
        assert_close(values, torch.full((2, 2), 20.0))


def test_the_members_differ_and_the_seed_decides_them(build):
    first, again, other = build(seed=1), build(seed=1), build(seed=2)
    weight = [critic.heads.q[0].layers[0].weight for critic in (first, again, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])
    assert not torch.equal(weight[0], first.heads.q[1].layers[0].weight)


def test_the_seed_decides_a_critics_adapter_and_building_leaves_the_random_state_alone(build):
    before = torch.random.get_rng_state()
    trained = {"critic_reader": "policy", "train_reader": True}
    first, again, other = (build(seed=seed, **trained).reader.trained() for seed in (1, 1, 2))
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert any(not torch.equal(weight, other[name]) for name, weight in first.items())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_config_decides_what_reads(build):
    assert isinstance(build().reader, TextReader)
    assert isinstance(build(critic_reader="policy", encoder=None).reader, TokenReader)


def test_an_encoder_that_nobody_named_is_asked_for(build):
    with pytest.raises(EncoderError, match="no encoder was named"):
        build(encoder=None)


@pytest.mark.parametrize("changes", [{}, {"train_reader": True}, {"critic_reader": "policy", "train_reader": True}])
def test_a_critic_takes_over_what_another_gave(build, changes):
    giver, taker = build(seed=1, **changes), build(seed=2, **changes)
    giver.heads.shift.fill_(5.0)
    with torch.no_grad():
        for weight in giver.trained().values():
            weight.add_(0.1)
    taker.load_state(giver.state())
    assert taker.state().keys() == giver.state().keys()
    assert all(torch.equal(tensor, taker.state()[name]) for name, tensor in giver.state().items())
    assert taker.heads.shift.item() == 5.0


def test_a_state_that_was_given_does_not_move_with_its_critic(build):
    critic = build()
    state = critic.state()
    before = {name: tensor.clone() for name, tensor in state.items()}
    with torch.no_grad():
        for weight in critic.trained().values():
            weight.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())

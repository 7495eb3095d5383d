"""What each kind of head says and loses, by hand, and the unit it says it in."""

import math
from dataclasses import replace

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from worker.archer.heads import BINS, REACH, ValueHead, ValueHeads
from worker.archer.types import Features


@pytest.fixture
def heads_of(config):
    def build(kind, shift=0.0, scale=1.0, ensemble=2):
        heads = ValueHeads(3, 4, replace(config, critic_head=kind, critic_ensemble=ensemble))
        heads.shift.fill_(shift)
        heads.scale.fill_(scale)
        return heads

    return build


def features(turns, seed=0):
    """Of turns whose features differ in size and zero."""
    generator = torch.Generator().manual_seed(seed)
    observation, action = torch.randn(turns, 3, generator=generator), torch.randn(turns, 4, generator=generator)
    return Features(100 + 0.01 * observation, 5 * action - 7, torch.zeros(turns, 3))


def place_of(value):
    """The bin of a two-hot head that stands for this many scales."""
    return round((value + REACH) / (2 * REACH) * (BINS - 1))


def certain(*values):
    """Logits that are sure of one bin each."""
    logits = torch.full((1, len(values), BINS), -100.0)
    for turn, value in enumerate(values):
        logits[0, turn, place_of(value)] = 100.0
    return logits


def test_a_scalar_logit_is_the_value_in_the_rewards_unit(heads_of):
    heads = heads_of("scalar", shift=10.0, scale=4.0)
    assert_close(heads.value(tensor([[[0.0], [-2.0]]])), tensor([[10.0, 2.0]]))


def test_a_scalar_error_is_squared_and_has_no_unit(heads_of):
    heads = heads_of("scalar", shift=10.0, scale=4.0)
    logits = tensor([[[0.5], [-2.0]]], requires_grad=True)
    error = heads.error(logits, tensor([[14.0, 2.0]]))  # in units of 4 from 10: wanted 1 and -2
    assert_close(error, tensor([[0.25, 0.0]]))
    error.sum().backward()
    assert_close(logits.grad, tensor([[[-1.0], [0.0]]]))


def test_a_binary_logit_is_a_chance_between_the_first_returns_ends(heads_of):
    heads = heads_of("binary", shift=-1.0, scale=2.0)
    assert_close(heads.value(tensor([[[0.0], [math.log(3.0)], [100.0]]])), tensor([[0.0, 0.5, 1.0]]))


def test_a_binary_error_is_the_cross_entropy_of_the_wanted_chance(heads_of):
    heads = heads_of("binary", shift=-1.0, scale=2.0)
    logits = tensor([[[math.log(3.0)], [0.0]]], requires_grad=True)
    error = heads.error(logits, tensor([[1.0, 0.0]]))  # wanted chances 1 and ½, said ¾ and ½
    assert_close(error, tensor([[-math.log(0.75), math.log(2.0)]]))
    error.sum().backward()
    assert_close(logits.grad, tensor([[[-0.25], [0.0]]]))


def test_a_two_hot_head_says_the_mean_of_its_places(heads_of):
    heads = heads_of("two_hot", shift=10.0, scale=4.0)
    assert_close(heads.value(certain(0.0, 1.0, -2.0)), tensor([[10.0, 14.0, 2.0]]))
    assert_close(heads.value(torch.zeros(1, 1, BINS)), tensor([[10.0]]), rtol=0, atol=1e-4)


def test_a_two_hot_error_is_the_cross_entropy_with_the_two_places_around_the_target(heads_of):
    heads = heads_of("two_hot", shift=10.0, scale=4.0)
    logits = torch.zeros(1, 2, BINS)
    assert_close(heads.error(logits, tensor([[14.0, 9.3]])), torch.full((1, 2), math.log(BINS)))
    logits[0, :, place_of(1.0)] = math.log(BINS)  # of 2·51 - 1 parts now 51
    sure, elsewhere = heads.error(logits, tensor([[14.0, 9.3]]))[0].tolist()
    assert sure == pytest.approx(math.log(101 / 51), rel=1e-5)
    assert elsewhere == pytest.approx(math.log(101), rel=1e-5)


@pytest.mark.parametrize("kind", ["scalar", "two_hot", "binary"])
def test_no_gradient_reaches_a_target(heads_of, kind):
    heads = heads_of(kind)
    target = torch.full((2, 5), 0.3, requires_grad=True)
    heads.error(heads.q_logits(torch.randn(5, 4)), target).sum().backward()
    assert target.grad is None
    assert all(weight.grad is not None for weight in heads.q.parameters())
    assert all(weight.grad is None for weight in heads.v.parameters())


@pytest.mark.parametrize("kind", ["scalar", "two_hot", "binary"])
def test_descending_the_error_brings_the_value_to_the_mean_target(heads_of, kind):
    # Replies that all look alike earned 0, 0, 1 and 3 of the unit: nothing better than 1 can be said.
    heads = heads_of(kind, shift=5.0, scale=3.0 if kind == "binary" else 1.0, ensemble=3)
    features, target = torch.ones(4, 4), 5.0 + tensor([0.0, 0.0, 1.0, 3.0]).expand(3, 4)
    optimiser = torch.optim.Adam(heads.q.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        heads.error(heads.q_logits(features), target).sum().backward()
        optimiser.step()
    assert_close(heads.value(heads.q_logits(features)), torch.full((3, 4), 6.0), rtol=0, atol=0.02)


@pytest.mark.parametrize("kind", ["scalar", "two_hot"])
def test_the_unit_is_the_first_returns_mean_and_spread_and_is_taken_once(heads_of, kind):
    heads = heads_of(kind)
    heads.calibrate(features(2), tensor([0.0, 10.0]))
    heads.calibrate(features(2), tensor([1000.0, 3000.0]))
    assert (heads.shift.item(), heads.scale.item()) == (5.0, 5.0)


def test_the_unit_of_a_binary_head_reaches_from_the_least_to_the_most(heads_of):
    heads = heads_of("binary")
    heads.calibrate(features(3), tensor([-2.0, 1.0, 6.0]))
    assert (heads.shift.item(), heads.scale.item()) == (-2.0, 8.0)


@pytest.mark.parametrize("kind", ["scalar", "two_hot", "binary"])
@pytest.mark.parametrize(("returns", "scale"), [([4.0, 4.0], 4.0), ([0.0, 0.0], 1.0), ([7.0], 7.0), ([1e6, 1e6], 1e6)])
def test_equal_returns_leave_a_usable_unit(heads_of, kind, returns, scale):
    heads = heads_of(kind)
    heads.calibrate(features(len(returns)), tensor(returns))
    assert heads.scale.item() == scale


def test_every_head_hears_features_of_mean_zero_and_spread_one(heads_of):
    heads, given = heads_of("scalar"), features(50)
    heads.calibrate(given, torch.zeros(50))
    for head, rows in zip((*heads.q, *heads.v), (given.action,) * 2 + (given.observation,) * 2, strict=True):
        heard = (rows - head.mean) / head.spread
        assert_close(heard.mean(dim=0), torch.zeros(rows.shape[1]), rtol=0, atol=0.01)
        assert_close(heard.std(dim=0, correction=0), torch.ones(rows.shape[1]), rtol=0, atol=1e-3)
        assert_close(head(rows), head.layers(heard))


def test_a_feature_that_never_varies_is_left_at_its_size():
    head = ValueHead(2, 4, 1)
    head.standardise(tensor([[1.0, 500.0], [3.0, 500.0]]))
    assert_close(head.mean, tensor([2.0, 500.0]))
    assert_close(head.spread, tensor([1.0, 1.0]))
    assert head(tensor([[9.0, 501.0]])).isfinite().all()


def test_features_are_standardised_once(heads_of):
    heads = heads_of("scalar")
    heads.calibrate(features(50), torch.zeros(50))
    before = [head.mean.clone() for head in heads.v]
    heads.calibrate(features(50, seed=1), torch.zeros(50))
    assert all(torch.equal(mean, head.mean) for mean, head in zip(before, heads.v, strict=True))


def test_an_ensemble_has_as_many_members_as_asked_and_each_is_heard(heads_of):
    heads = heads_of("scalar", ensemble=5)
    with torch.no_grad():
        for place, head in enumerate(heads.v):
            head.layers[-1].bias.fill_(float(place))
    assert_close(heads.value(heads.v_logits(torch.randn(2, 3))), torch.arange(5.0).unsqueeze(1).expand(5, 2))

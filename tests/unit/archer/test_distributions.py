"""Values as classes: where a target's weight lies, what a head stands for, and the losses' gradients."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor
from torch.testing import assert_close

from worker.archer.distributions import binary_loss, expected_value, two_hot, two_hot_loss

BINS = tensor([-1.0, 0.0, 4.0])


def test_a_target_between_two_bins_is_shared_by_nearness():
    assert_close(two_hot(tensor([1.0, -0.25]), BINS), tensor([[0.0, 0.75, 0.25], [0.25, 0.75, 0.0]]))


def test_a_target_on_a_bin_is_that_bin():
    assert_close(two_hot(BINS, BINS), torch.eye(3))


def test_a_target_outside_counts_as_the_nearest_bin():
    assert_close(two_hot(tensor([-9.0, 9.0]), BINS), tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 4, width=32), min_size=1, max_size=8))
def test_the_two_hot_distribution_has_the_target_as_its_mean(targets):
    target = tensor(targets)
    shares = two_hot(target, BINS)
    assert_close(shares.sum(dim=1), torch.ones(len(targets)))
    assert_close(shares @ BINS, target)
    assert shares.min() >= 0


def test_each_member_of_an_ensemble_has_its_own_target():
    target = tensor([[1.0, -0.25], [4.0, 0.0]])
    assert_close(two_hot(target, BINS), torch.stack([two_hot(target[0], BINS), two_hot(target[1], BINS)]))
    assert_close(two_hot(target.T, BINS), two_hot(target, BINS).transpose(0, 1))


def test_a_head_stands_for_the_mean_of_its_bins():
    # softmax(ln 2, 0, 0) = ½, ¼, ¼: -½ + 0 + 1.
    assert_close(expected_value(tensor([[math.log(2.0), 0.0, 0.0]]), BINS), tensor([0.5]))


def test_the_two_hot_loss_is_a_cross_entropy_of_each_turn():
    # Weights ¾ and ¼ on probabilities ¼ and ¼: ln 4. All on the first, of probability ½: ln 2.
    logits = tensor([[math.log(2.0), 0.0, 0.0]] * 2, requires_grad=True)
    target = tensor([1.0, -1.0], requires_grad=True)
    loss = two_hot_loss(logits, target, BINS)
    assert_close(loss, tensor([math.log(4.0), math.log(2.0)]))
    loss.sum().backward()
    assert_close(logits.grad, tensor([[0.5, -0.5, 0.0], [-0.5, 0.25, 0.25]]))  # softmax - two-hot
    assert target.grad is None


def test_a_head_that_descends_its_loss_comes_to_stand_for_the_mean_of_its_targets():
    # One state with returns 0, 3, 4 and -1: their mean is 1.5.
    logits = torch.zeros(1, 3, requires_grad=True)
    target = tensor([0.0, 3.0, 4.0, -1.0])
    for _ in range(400):
        (gradient,) = torch.autograd.grad(two_hot_loss(logits.expand(4, 3), target, BINS).mean(), logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert expected_value(logits, BINS).item() == pytest.approx(1.5, abs=1e-3)


def test_the_binary_loss_is_a_cross_entropy_of_each_turn():
    # σ(ln 3) = ¾: against ½ it is -(ln ¾ + ln ¼)/2, against 1 it is -ln ¾.
    logits = tensor([[math.log(3.0)], [math.log(3.0)]], requires_grad=True)
    target = tensor([[0.5], [1.0]], requires_grad=True)
    loss = binary_loss(logits, target)
    assert_close(loss, tensor([[0.8369882], [0.2876821]]))
    loss.sum().backward()
    assert_close(logits.grad, tensor([[0.25], [-0.25]]))  # σ(l) - y
    assert target.grad is None


def test_a_binary_target_beyond_an_end_counts_as_the_end():
    logits = tensor([0.3, 0.3])
    assert_close(binary_loss(logits, tensor([1.7, -0.2])), binary_loss(logits, tensor([1.0, 0.0])))


def test_a_certain_and_wrong_binary_head_has_a_finite_loss():
    assert_close(binary_loss(tensor([200.0]), tensor([0.0])), tensor([200.0]))

"""Losses by hand, with the gradients that they must have and those that they must not."""

import math

import pytest
from torch import tensor
from torch.testing import assert_close

from worker.archer.losses import policy_gradient_loss, q_loss, v_loss


def test_the_q_loss_is_the_mean_square_summed_over_the_twins():
    q = tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    y = tensor([[0.0, 2.0], [1.0, 1.0]], requires_grad=True)
    loss = q_loss(q, y)
    assert_close(loss, tensor(3.0))  # (1 + 0)/2 + (4 + 1)/2
    loss.backward()
    assert_close(q.grad, tensor([[1.0, 0.0], [2.0, -1.0]]))  # 2 (q - y) / 2
    assert y.grad is None


def test_the_v_loss_is_a_weighted_mean():
    v = tensor([[1.0, 0.0], [2.0, 2.0]], requires_grad=True)
    target_q = tensor([[3.0, 1.0], [2.0, 0.0]], requires_grad=True)
    loss = v_loss(v, target_q, tensor([1.0, 3.0]))
    assert_close(loss, tensor(4.75))  # (1*4 + 3*1)/4 + (1*0 + 3*4)/4 = 1.75 + 3
    loss.backward()
    assert_close(v.grad, tensor([[-1.0, -1.5], [0.0, 3.0]]))  # 2 w (v - q) / 4
    assert target_q.grad is None


def test_v_settles_at_the_weighted_mean_of_q():
    # One state, replies of weight 2 and 0.5 worth 1 and 6: the mean is (2 + 3) / 2.5 = 2, where no gradient is left.
    v = tensor([[2.0, 2.0]], requires_grad=True)
    v_loss(v, tensor([[1.0, 6.0]]), tensor([2.0, 0.5])).backward()
    assert v.grad is not None
    assert v.grad.sum().item() == pytest.approx(0.0)


def test_the_policy_gradient_pushes_each_token_by_its_turns_advantage():
    logprobs = tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantage = tensor([2.0, 2.0, -1.0])  # two tokens of turn 0, one of turn 1
    loss = policy_gradient_loss(logprobs, logprobs.detach(), advantage, turns=2, max_ratio=2.0)
    assert_close(loss, tensor(2.75))  # -(2*-1 + 2*-2 + -1*-0.5) / 2
    loss.backward()
    assert_close(logprobs.grad, tensor([-1.0, -1.0, 0.5]))  # -A / 2


def test_the_policy_gradient_weighs_by_the_truncated_ratio_and_not_through_it():
    # Ratios 4 (cut to 2), 2 (exactly at the cut) and 0.5. A gradient through ρ would add ρ A log π to each.
    logprobs = tensor([math.log(0.8), math.log(0.4), math.log(0.1)], requires_grad=True)
    behaviour = tensor([math.log(0.2)] * 3)
    policy_gradient_loss(logprobs, behaviour, tensor([1.0, 1.0, 1.0]), turns=1, max_ratio=2.0).backward()
    assert_close(logprobs.grad, tensor([-2.0, -2.0, -0.5]))


def test_a_ratio_without_truncation_is_the_plain_importance_weight():
    logprobs = tensor([0.0], requires_grad=True)
    policy_gradient_loss(logprobs, tensor([-3.0]), tensor([1.0]), turns=1, max_ratio=1e9).backward()
    assert_close(logprobs.grad, tensor([-math.exp(3.0)]))


def test_a_zero_advantage_moves_nothing():
    logprobs = tensor([-1.0, -2.0], requires_grad=True)
    policy_gradient_loss(logprobs, tensor([-3.0, -1.0]), tensor([0.0, 0.0]), turns=1, max_ratio=2.0).backward()
    assert_close(logprobs.grad, tensor([0.0, 0.0]))

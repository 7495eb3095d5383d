"""Losses by hand, with the gradients that they must have and those that they must not."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from worker.archer.losses import (
    awr_loss,
    clipped_policy_loss,
    cloning_loss,
    exact_kl,
    expectile_weight,
    imitation_loss,
    margin_loss,
    policy_gradient_loss,
    q_loss,
    token_baseline_loss,
    v_loss,
)


def test_the_q_loss_is_the_mean_square_summed_over_the_twins():
    q = tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    y = tensor([[0.0, 2.0], [1.0, 1.0]], requires_grad=True)
    loss = q_loss((q - y.detach()).square(), turns=2)
    assert_close(loss, tensor(3.0))  # (1 + 0)/2 + (4 + 1)/2
    loss.backward()
    assert_close(q.grad, tensor([[1.0, 0.0], [2.0, -1.0]]))  # 2 (q - y) / 2
    assert y.grad is None


def test_the_v_loss_is_a_weighted_mean():
    v = tensor([[1.0, 0.0], [2.0, 2.0]], requires_grad=True)
    target_q = tensor([[3.0, 1.0], [2.0, 0.0]], requires_grad=True)
    loss = v_loss((v - target_q.detach()).square(), tensor([1.0, 3.0]), 4.0)
    assert_close(loss, tensor(4.75))  # (1*4 + 3*1)/4 + (1*0 + 3*4)/4 = 1.75 + 3
    loss.backward()
    assert_close(v.grad, tensor([[-1.0, -1.5], [0.0, 3.0]]))  # 2 w (v - q) / 4
    assert target_q.grad is None


def test_v_settles_at_the_weighted_mean_of_q():
    # One state, replies of weight 2 and 0.5 worth 1 and 6: the mean is (2 + 3) / 2.5 = 2, where no gradient is left.
    v = tensor([[2.0, 2.0]], requires_grad=True)
    v_loss((v - tensor([[1.0, 6.0]])).square(), tensor([2.0, 0.5]), 2.5).backward()
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


def test_an_expectile_weighs_targets_above_by_e_and_below_by_the_rest():
    assert_close(expectile_weight(tensor([-2.0, 0.0, 3.0]), 0.9), tensor([0.1, 0.9, 0.9]))


def expectile_loss(v, target_q, expectile):
    """J_V of a step that is one part."""
    u = target_q.detach() - v
    return v_loss(u.square(), expectile_weight(u.detach(), expectile), float(v.shape[-1]))


def test_an_expectile_tilts_the_square_of_each_turn():
    v = tensor([[1.0, 1.0], [0.0, 5.0]], requires_grad=True)
    target_q = tensor([[3.0, 0.0], [0.0, 4.0]], requires_grad=True)
    loss = expectile_loss(v, target_q, 0.9)
    assert_close(loss, tensor(1.9))  # (.9·4 + .1·1)/2 + (.9·0 + .1·1)/2
    loss.backward()
    assert_close(v.grad, tensor([[-1.8, 0.1], [0.0, 0.1]]))  # -2 |e - 1(u<0)| u / 2
    assert target_q.grad is None


def test_half_an_expectile_is_half_the_squared_error():
    assert_close(expectile_loss(tensor([[1.0, -2.0]]), tensor([[4.0, -3.0]]), 0.5), tensor((4.5 + 0.5) / 2))


def test_v_settles_above_the_mean_at_a_high_expectile():
    # Replies worth 0 and 1: .9 (1 - v) = .1 v at v = .9, where no gradient is left.
    v = tensor([[0.9, 0.9]], requires_grad=True)
    expectile_loss(v, tensor([[0.0, 1.0]]), 0.9).backward()
    assert v.grad is not None
    assert v.grad.sum().item() == pytest.approx(0.0, abs=1e-6)


def clipped_gradient(ratio, advantage, start_to_behaviour=1.0):
    """d J / d log π of one token whose π/π₀ is `ratio`, clipped to [.8, 1.3], with weights cut at 2."""
    start = tensor([-3.0])
    logprobs = (start + math.log(ratio)).requires_grad_()
    behaviour = start - math.log(start_to_behaviour)
    clipped_policy_loss(logprobs, start, behaviour, tensor([advantage]), 1, 0.2, 0.3, 2.0).backward()
    assert logprobs.grad is not None
    return logprobs.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "gradient"),
    [
        (1.0, 2.0, -2.0),  # at the start: the plain policy gradient
        (1.2, 2.0, -2.4),  # within the region: -r A
        (1.4, 2.0, 0.0),  # pushed far enough up
        (0.5, 2.0, -1.0),  # on the wrong side: brought back
        (0.9, -2.0, 1.8),
        (0.7, -2.0, 0.0),  # pushed far enough down
        (1.5, -2.0, 3.0),  # on the wrong side: brought back
    ],
)
def test_the_clipped_loss_stops_pushing_beyond_its_region_and_on_that_side_only(ratio, advantage, gradient):
    assert clipped_gradient(ratio, advantage) == pytest.approx(gradient, rel=1e-5)


@pytest.mark.parametrize(("old", "weight"), [(0.5, 0.5), (2.0, 2.0), (5.0, 2.0)])
def test_the_clipped_loss_weighs_stale_tokens_by_the_truncated_ratio_of_the_start(old, weight):
    assert clipped_gradient(1.2, 1.0, start_to_behaviour=old) == pytest.approx(-1.2 * weight, rel=1e-5)


def test_the_clipped_loss_is_the_sum_over_tokens_a_turn():
    # Two turns of A = 1 (r = 1.3 and 2, the second clipped to 1.3) and A = -1 (r = 1): -(1.3 + 1.3 - 1) / 2.
    start = tensor([-2.0, -2.0, -1.0])
    logprobs = start + tensor([1.3, 2.0, 1.0]).log()
    loss = clipped_policy_loss(logprobs, start, start, tensor([1.0, 1.0, -1.0]), 2, 0.2, 0.3, 2.0)
    assert_close(loss, tensor(-0.8))


def test_the_clipped_loss_at_its_start_has_the_gradient_of_the_plain_one():
    logprobs = tensor([-1.0, -2.0, -0.5], requires_grad=True)
    behaviour = tensor([-1.3, -1.0, -4.0])
    advantage = tensor([2.0, 2.0, -1.0])
    clipped = clipped_policy_loss(logprobs, logprobs.detach(), behaviour, advantage, 2, 0.2, 0.2, 2.0)
    plain = policy_gradient_loss(logprobs, behaviour, advantage, 2, 2.0)
    assert_close(torch.autograd.grad(clipped, logprobs), torch.autograd.grad(plain, logprobs))


def test_no_gradient_reaches_the_start_or_the_behaviour_through_the_clipped_loss():
    logprobs, start, behaviour = (tensor([-1.0], requires_grad=True) for _ in range(3))
    clipped_policy_loss(logprobs, start, behaviour, tensor([1.0]), 1, 0.2, 0.2, 2.0).backward()
    assert start.grad is None
    assert behaviour.grad is None


def test_advantage_weighted_regression_imitates_by_the_bounded_exponential():
    # β = 2: weights e^(2·½) = e, e⁰ = 1, e^(2·-1) = e⁻² and e¹⁰ cut at 20; B = 2.
    logprobs = tensor([-1.0, -2.0, -0.5, -3.0], requires_grad=True)
    advantage = tensor([0.5, 0.0, -1.0, 5.0], requires_grad=True)
    loss = awr_loss(logprobs, advantage, turns=2, beta=2.0, max_weight=20.0)
    assert loss.item() == pytest.approx((math.e + 2 + 0.5 * math.exp(-2) + 60) / 2)
    loss.backward()
    assert_close(logprobs.grad, -tensor([math.e, 1.0, math.exp(-2), 20.0]) / 2)
    assert advantage.grad is None


def test_a_turns_own_weight_multiplies_its_imitation_and_does_not_sharpen_it():
    # w = 3 on e^(2·½) = e, and w = ½ on e¹⁰ cut at 20; B = 2.
    logprobs, advantage = tensor([-1.0, -3.0], requires_grad=True), tensor([0.5, 5.0])
    loss = awr_loss(logprobs, advantage, turns=2, beta=2.0, max_weight=20.0, weight=tensor([3.0, 0.5]))
    assert loss.item() == pytest.approx((3 * math.e + 0.5 * 60) / 2)
    loss.backward()
    assert_close(logprobs.grad, -tensor([3 * math.e, 10.0]) / 2)


def test_an_exponential_beyond_float32_is_the_bound_and_not_infinite():
    assert awr_loss(tensor([-1.0]), tensor([1000.0]), turns=1, beta=1.0, max_weight=20.0).item() == 20.0


def test_only_chosen_tokens_are_imitated():
    logprobs = tensor([-1.0, -2.0, -4.0], requires_grad=True)
    loss = imitation_loss(logprobs, tensor([True, True, False]), turns=2)
    assert_close(loss, tensor(1.5))  # (1 + 2) / 2
    loss.backward()
    assert_close(logprobs.grad, tensor([-0.5, -0.5, 0.0]))


def test_imitation_may_be_weighted_and_no_gradient_reaches_the_weights():
    logprobs, weight = tensor([-1.0, -2.0], requires_grad=True), tensor([3.0, 0.5], requires_grad=True)
    loss = imitation_loss(logprobs, weight, turns=1)
    assert_close(loss, tensor(4.0))  # 3·1 + ½·2
    loss.backward()
    assert_close(logprobs.grad, tensor([-3.0, -0.5]))
    assert weight.grad is None


def test_cloning_takes_the_mean_over_tokens_and_then_over_demonstrations():
    # One demonstration of two tokens and one of one: ½ (½ (1 + 2) + 4).
    logprobs = tensor([-1.0, -2.0, -4.0], requires_grad=True)
    loss = cloning_loss(logprobs, tensor([2, 2, 1]), demonstrations=2)
    assert_close(loss, tensor(2.75))
    loss.backward()
    assert_close(logprobs.grad, tensor([-0.25, -0.25, -0.5]))


def test_the_margin_is_asked_of_each_member_and_each_pair_on_its_own():
    # Q + m - Q_E with m = ½: member 0 has 1 + ½ - 2 < 0 and 0 + ½ - 0 = ½, member 1 has 3 + ½ - 1 = 2½ and 1 + ½ - ¼.
    said = tensor([[1.0, 0.0], [3.0, 1.0]], requires_grad=True)
    shown = tensor([[2.0, 0.0], [1.0, 0.25]], requires_grad=True)
    loss = margin_loss(said, shown, 0.5)
    assert_close(loss, tensor(0.25 + 1.875))  # (0 + ½)/2 + (2½ + 1¼)/2
    loss.backward()
    assert_close(said.grad, tensor([[0.0, 0.5], [0.5, 0.5]]))
    assert_close(shown.grad, -tensor([[0.0, 0.5], [0.5, 0.5]]))


def test_the_token_baseline_is_pulled_to_its_turns_advantage():
    baseline, advantage = tensor([1.0, -2.0], requires_grad=True), tensor([3.0, -2.0], requires_grad=True)
    loss = token_baseline_loss(baseline, advantage)
    assert_close(loss, tensor([4.0, 0.0]))
    loss.mean().backward()
    assert_close(baseline.grad, tensor([-2.0, 0.0]))  # 2 (1 - 3) / 2
    assert advantage.grad is None


def test_the_exact_kl_by_hand():
    # π = (¾, ¼), reference (½, ½): ¾ ln 1.5 + ¼ ln ½ = 0.130812. And equal policies: 0.
    logits = tensor([[math.log(3.0), 0.0], [7.0, 7.0]])
    kl = exact_kl(logits, tensor([[1.0, 1.0], [-2.0, -2.0]]), tensor([1.0, 1.0]))
    assert_close(kl, tensor([0.1308120, 0.0]))


def test_the_exact_kl_is_taken_at_the_temperature_of_each_token():
    # ln 9 at temperature 2 is the ln 3 of above.
    kl = exact_kl(tensor([[math.log(9.0), 0.0]]), tensor([[0.0, 0.0]]), tensor([2.0]))
    assert_close(kl, tensor([0.1308120]))


def test_the_exact_kl_has_the_gradient_of_finite_differences_and_of_the_policy_only():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    temperature = tensor([1.0, 0.7, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: exact_kl(z, reference.detach(), temperature), logits)
    exact_kl(logits, reference, temperature).sum().backward()
    assert reference.grad is None


def test_the_exact_kl_is_the_mean_log_ratio_over_the_vocabulary():
    generator = torch.Generator().manual_seed(1)
    logits, reference = torch.randn(2, 6, generator=generator), torch.randn(2, 6, generator=generator)
    policy, other = logits.softmax(1), reference.softmax(1)
    slow = [sum(p * (p / q).log() for p, q in zip(policy[t], other[t], strict=True)) for t in range(2)]
    assert_close(exact_kl(logits, reference, torch.ones(2)), torch.stack(slow))


def test_the_exact_kl_of_certain_policies_in_half_precision_is_finite_and_precise():
    logits = tensor([[300.0, 0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    reference = tensor([[0.0, 300.0, 0.0]], dtype=torch.bfloat16)
    kl = exact_kl(logits, reference, tensor([1.0], dtype=torch.bfloat16))
    assert_close(kl, tensor([300.0]))  # in float32
    kl.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()

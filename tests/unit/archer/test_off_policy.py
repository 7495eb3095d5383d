"""Off-policy estimates, against numbers worked out by hand and a world whose every conversation is listed."""

import math

import pytest
import torch
from torch import tensor

from tests.unit.archer.small_world import LOGGED, OTHER, all_conversations, chance, true_q, true_v, value
from worker.archer.off_policy import (
    cumulative_weights,
    doubly_robust,
    effective_units,
    estimate,
    gains_by_place,
    surprises,
    trust_judge,
    weighted_doubly_robust,
    weighted_mean_parts,
)


def test_a_weight_is_the_product_so_far_and_stays_behind_the_end():
    log_ratio = tensor([[2.0, 0.5], [0.5, 1.0], [1.0, 1.0], [1.0, 1.0]]).log()
    assert cumulative_weights(log_ratio).flatten().tolist() == pytest.approx([2.0, 1.0, 0.5, 0.5, 1, 1, 1, 1])


def test_no_weight_is_above_the_root_of_their_number():
    log_ratio = tensor([[3.0, 9.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]).log()
    assert cumulative_weights(log_ratio)[0].tolist() == pytest.approx([2.0, 2.0])


def test_parts_of_a_weighted_mean_by_hand():
    # The weighted mean is (1·2 + 3·6) / 4 = 5; the shares are 1/2 and 3/2.
    parts = weighted_mean_parts(tensor([1.0, 3.0]), tensor([2.0, 6.0]))
    assert parts.tolist() == [5 - 0.5 * 3, 5 + 1.5 * 1]


def test_with_weights_of_one_each_part_is_what_it_is():
    assert weighted_mean_parts(torch.ones(2), tensor([2.0, 6.0])).tolist() == [2.0, 6.0]


def test_a_surprise_is_what_came_beyond_q():
    reward, q, v = tensor([[1.0, 2.0]]), tensor([[0.5, 1.0]]), tensor([[0.0, 3.0]])
    assert surprises(reward, q, v).tolist() == [[3.5, 1.0]]


def test_doubly_robust_by_hand():
    reward, weight = tensor([[1.0, 2.0]]), tensor([[2.0, 0.5]])
    q, v = tensor([[0.5, 1.0]]), tensor([[0.25, 3.0]])
    # w0 (r0 - Q0) + V0 + w1 (r1 - Q1) + w0 V1
    assert doubly_robust(reward, weight, q, v).item() == 2 * 0.5 + 0.25 + 0.5 * 1.0 + 2 * 3.0


def test_without_a_judge_it_is_per_decision_importance_sampling():
    reward, weight, none = tensor([[1.0, 2.0]]), tensor([[2.0, 0.5]]), torch.zeros(1, 2)
    assert doubly_robust(reward, weight, none, none).item() == 2 * 1.0 + 0.5 * 2.0


@pytest.mark.parametrize("estimator", [doubly_robust, weighted_doubly_robust])
def test_where_all_ratios_are_one_it_is_the_logged_mean(estimator):
    world = all_conversations()
    one, none = torch.ones_like(world.reward), torch.zeros_like(world.reward)
    q, v = true_q(LOGGED, world), true_v(LOGGED, world)
    logged = world.reward.sum(dim=1).mean().item()
    assert logged == pytest.approx(value(LOGGED))
    assert estimator(world.reward, one, none, none).mean().item() == pytest.approx(logged)
    assert estimator(world.reward, one, q, v).mean().item() == pytest.approx(logged)


@pytest.mark.parametrize("estimator", [doubly_robust, weighted_doubly_robust])
def test_right_ratios_make_it_right_whatever_q_is_if_v_is_its_mean(estimator):
    world = all_conversations()
    table = tensor([[5.0, -3.0], [0.5, 2.0], [-1.0, 4.0]], dtype=torch.float64)
    mean = tensor([sum(chance(OTHER, s, a) * table[s, a].item() for a in (0, 1)) for s in (0, 1, 2)]).double()
    weight = cumulative_weights(world.log_ratio)
    found = estimator(world.reward, weight, table[world.state, world.reply], mean[world.state])
    assert found.mean().item() == pytest.approx(value(OTHER), abs=1e-6)


@pytest.mark.parametrize("estimator", [doubly_robust, weighted_doubly_robust])
def test_a_right_q_makes_it_right_whatever_the_ratios_are(estimator):
    world = all_conversations()
    wrong = cumulative_weights(0.3 * world.log_ratio.flip(1) - 0.2)
    found = estimator(world.reward, wrong, true_q(OTHER, world), true_v(OTHER, world))
    assert found.mean().item() == pytest.approx(value(OTHER))


def test_wrong_ratios_and_a_wrong_q_make_it_wrong():
    world = all_conversations()
    one, none = torch.ones_like(world.reward), torch.zeros_like(world.reward)
    assert abs(doubly_robust(world.reward, one, none, none).mean().item() - value(OTHER)) > 0.1


def test_gains_of_the_places_add_up_to_importance_sampling_less_what_came():
    world = all_conversations()
    weight, none = cumulative_weights(world.log_ratio), torch.zeros_like(world.reward)
    together = gains_by_place(world.reward, weight).sum(dim=1)
    sampled = weighted_doubly_robust(world.reward, weight, none, none) - world.reward.sum(dim=1)
    assert torch.allclose(together, sampled)
    assert together.mean().item() == pytest.approx(value(OTHER) - value(LOGGED))


def test_the_first_gain_is_of_the_other_first_reply_alone():
    world = all_conversations()
    gains = gains_by_place(world.reward, cumulative_weights(world.log_ratio))
    only_first = value((OTHER[0], *LOGGED[1:])) - value(LOGGED)
    assert gains[:, 0].mean().item() == pytest.approx(only_first)


def test_a_judge_that_takes_all_noise_away_is_trusted_and_one_that_adds_some_is_not():
    noise, unit = tensor([1.0, -1.0, 2.0, -2.0]), torch.arange(4)
    assert trust_judge(noise, torch.zeros(4), unit) == 1.0
    assert trust_judge(noise, noise / 2, unit) == 1.0
    assert trust_judge(noise, 2 * noise, unit) == 0.0
    assert trust_judge(noise, -noise, unit) == 0.5
    assert trust_judge(noise, noise, unit) == 0.0


def test_noise_that_an_end_users_conversations_cancel_counts_for_nothing_in_the_trust():
    unit = tensor([0, 0, 1, 1])
    assert trust_judge(tensor([1.0, 1.0, -1.0, -1.0]), tensor([9.0, -9.0, 5.0, -5.0]), unit) == 1.0


def test_an_interval_by_hand():
    found = estimate(tensor([1.0, 2.0, 3.0]), tensor([0, 1, 2]))
    reach = 1.959964 * math.sqrt(3 / 2 * 2) / 3
    assert found == pytest.approx((2.0, 2.0 - reach, 2.0 + reach))


def test_what_one_end_user_says_twice_makes_nothing_surer():
    once = estimate(tensor([1.0, 2.0, 3.0]), tensor([0, 1, 2]))
    twice = estimate(tensor([1.0, 2.0, 3.0]).repeat(2), tensor([0, 1, 2]).repeat(2))
    assert twice == pytest.approx(once)


def test_of_a_single_end_user_nothing_is_sure():
    assert estimate(tensor([1.0, 3.0]), tensor([7, 7])) == (2.0, -math.inf, math.inf)


def test_effective_units_by_hand():
    assert effective_units(tensor([1.0, 1.0, 1.0, 1.0]), tensor([0, 1, 2, 3])) == 4.0
    assert effective_units(tensor([1.0, 1.0, 2.0]), tensor([0, 0, 1])) == 2.0
    assert effective_units(tensor([3.0, 1.0]), tensor([0, 1])) == pytest.approx(16 / 10)
    assert effective_units(tensor([3e-30, 1e-30]), tensor([0, 1])) == pytest.approx(16 / 10)
    assert effective_units(tensor([0.0, 0.0]), tensor([0, 1])) == 0.0

"""Advantages by hand, and what happens where there is no advantage."""

import pytest
from torch import tensor, zeros
from torch.testing import assert_close

from worker.archer.advantages import (
    best_candidates,
    normalise_advantages,
    pessimistic_advantage,
    token_advantages,
)


def test_the_advantage_is_the_smaller_q_minus_the_smaller_v():
    q = tensor([[3.0, 1.0], [2.0, 5.0]])
    v = tensor([[1.0, 4.0], [2.0, 3.0]])
    assert_close(pessimistic_advantage(q, v), tensor([1.0, -2.0]))  # 2 - 1, and 1 - 3


def test_the_smallest_of_five_members_decides_and_their_order_does_not():
    q = tensor([[5.0, 2.0], [4.0, 6.0], [9.0, 3.0], [7.0, 8.0], [6.0, 5.0]])
    v = tensor([[3.0, 4.0], [1.0, 9.0], [2.0, 7.0], [8.0, 6.0], [5.0, 5.0]])
    assert_close(pessimistic_advantage(q, v), tensor([3.0, -2.0]))  # 4 - 1, and 2 - 4
    order = tensor([3, 0, 4, 1, 2])
    assert_close(pessimistic_advantage(q[order], v[order]), tensor([3.0, -2.0]))


def test_no_gradient_runs_from_the_actor_into_the_critic():
    q = tensor([[3.0], [2.0]], requires_grad=True)
    assert not pessimistic_advantage(q, q).requires_grad


def test_advantages_are_centred_and_scaled():
    # Mean 2, deviations -2, 0, 2; sd sqrt(8/3) = 1.63299.
    normalised = normalise_advantages(tensor([0.0, 2.0, 4.0]), flat_below=1e-4, bound=10.0)
    assert_close(normalised, tensor([-1.224745, 0.0, 1.224745]))


def test_the_unit_of_the_rewards_does_not_matter():
    advantage = tensor([0.1, -0.3, 0.7, 0.2])
    assert_close(normalise_advantages(100 * advantage, 1e-4, 3.0), normalise_advantages(advantage, 1e-4, 3.0))


@pytest.mark.parametrize("spread", [0.0, 1e-9])
def test_flat_advantages_become_zero_and_not_rounding_blown_up(spread):
    assert_close(normalise_advantages(tensor([0.5, 0.5 + spread, 0.5]), flat_below=1e-4, bound=3.0), zeros(3))


def test_one_outlier_is_bounded():
    # Nine zeros and a ten: mean 1, sd 3, so the outlier is (10 - 1) / 3 = 3 before the bound of 2.
    normalised = normalise_advantages(tensor([0.0] * 9 + [10.0]), flat_below=1e-4, bound=2.0)
    assert normalised.max().item() == 2.0
    assert_close(normalised[0], tensor(-1 / 3))


def test_a_tokens_advantage_is_its_turns_beyond_what_was_expected_before_it():
    advantage, baseline = tensor([2.0, 2.0], requires_grad=True), tensor([0.5, 3.0], requires_grad=True)
    left = token_advantages(advantage, baseline)
    assert_close(left, tensor([1.5, -1.0]))
    assert not left.requires_grad


def test_of_each_states_candidates_the_best_is_chosen_if_it_is_good_enough():
    # The best of the second state lies exactly at the threshold: not above it.
    advantage = tensor([[0.1, 0.9, 0.3], [0.2, -1.0, 0.0], [-3.0, -1.0, -2.0]])
    chosen = best_candidates(advantage, threshold=0.2)
    assert chosen.tolist() == [[False, True, False], [False, False, False], [False, False, False]]


def test_of_equally_good_candidates_one_is_chosen():
    assert best_candidates(tensor([[1.0, 1.0], [0.0, 2.0]]), threshold=0.0).tolist() == [[True, False], [False, True]]


def test_an_advantage_that_is_not_a_number_chooses_nothing():
    assert best_candidates(tensor([[float("nan"), 1.0]]), threshold=0.0).tolist() == [[False, False]]

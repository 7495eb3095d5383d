"""Advantages by hand, and what happens where there is no advantage."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor, zeros
from torch.testing import assert_close

from worker.archer.advantages import (
    best_candidates,
    normalise_advantages,
    observed_advantage,
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


def test_an_observed_advantage_is_the_surprise_now_and_what_its_trace_brings_of_later_ones():
    # gamma .5. Surprises: 1 + .5*4 - 2 = 1; 3 + .5*0 - 4 = -1 (it ended); and of the other episode, which was cut,
    # 0 + .5*6 - 1 = 2. The first hears half of the second's, discounted: 1 + .5*.5*(-1).
    found = observed_advantage(
        reward=tensor([1.0, 3.0, 0.0]),
        value=tensor([2.0, 4.0, 1.0]),
        next_value=tensor([4.0, 9.0, 6.0]),
        bootstraps=tensor([1.0, 0.0, 1.0]),
        ends=tensor([False, True, True]),
        trace=tensor([0.9, 0.5, 0.5]),
        gamma=0.5,
    )
    assert_close(found, tensor([0.75, -1.0, 2.0]))


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_an_observed_advantage_is_the_sum_that_its_equation_says(lengths, seed):
    turns, gamma = sum(lengths), 0.9
    generator = torch.Generator().manual_seed(seed)
    reward, value, after, trace = torch.rand(4, turns, generator=generator, dtype=torch.float64)
    ends = torch.zeros(turns, dtype=torch.bool)
    ends[torch.tensor(lengths).cumsum(0) - 1] = True
    bootstraps = 1 - (ends & (torch.arange(turns) % 2 == 0)).double()
    expected, begin = torch.zeros(turns, dtype=torch.float64), 0
    for length in lengths:
        for turn in range(begin, begin + length):
            passed = 1.0
            for later in range(turn, begin + length):
                passed *= gamma * trace[later].item() if later > turn else 1.0
                expected[turn] += passed * (reward + gamma * bootstraps * after - value)[later]
        begin += length
    assert_close(observed_advantage(reward, value, after, bootstraps, ends, trace, gamma), expected)


def test_with_a_full_trace_an_observed_advantage_is_the_return_less_v_and_without_one_a_single_steps_surprise():
    reward, value = tensor([1.0, 2.0, 4.0]), tensor([3.0, 5.0, 1.0])
    after, ends = tensor([5.0, 1.0, 7.0]), tensor([False, False, True])
    bootstraps = tensor([1.0, 1.0, 0.0])
    arguments = (reward, value, after, bootstraps, ends)
    assert_close(observed_advantage(*arguments, torch.ones(3), 0.5), tensor([3.0 - 3, 4.0 - 5, 4.0 - 1]))
    assert_close(observed_advantage(*arguments, torch.zeros(3), 0.5), tensor([0.5, -2.5, 3.0]))


def test_no_gradient_runs_through_an_observed_advantage():
    value = tensor([1.0], requires_grad=True)
    one = tensor([1.0])
    assert not observed_advantage(one, value, value, one, tensor([True]), one, 0.9).requires_grad


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

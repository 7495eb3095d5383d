"""Targets and returns against numbers worked out by hand."""

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import tensor
from torch.testing import assert_close

from worker.archer.returns import explained_variance, monte_carlo_returns, td_target


def test_a_finished_dialogue_is_worth_its_last_reward_and_an_open_one_bootstraps():
    y = td_target(tensor([1.0, 1.0]), tensor([5.0, 5.0]), tensor([1.0, 0.0]), gamma=0.9)
    assert_close(y, tensor([5.5, 1.0]))  # 1 + 0.9 * 5, and 1


def test_each_twin_bootstraps_from_its_own_target():
    y = td_target(tensor([1.0]), tensor([[5.0], [3.0]]), tensor([1.0]), gamma=0.5)
    assert_close(y, tensor([[3.5], [2.5]]))  # 1 + 0.5 * 5 and 1 + 0.5 * 3


def test_gamma_zero_sees_the_reward_only():
    assert_close(td_target(tensor([2.0]), tensor([99.0]), tensor([1.0]), gamma=0.0), tensor([2.0]))


def test_no_gradient_reaches_the_target_network_through_the_target():
    value = tensor([5.0], requires_grad=True)
    assert not td_target(tensor([1.0]), value, tensor([1.0]), gamma=0.9).requires_grad


def test_wrong_shapes_are_refused_under_test():
    with pytest.raises(TypeCheckError):
        td_target(tensor([1.0, 2.0]), tensor([5.0]), tensor([1.0]), gamma=0.9)


def test_monte_carlo_returns_are_discounted_to_the_end_of_each_episode():
    # First episode, ends for good: G₁ = 2, G₀ = 1 + 0.5 * 2 = 2. Second, cut with V = 4 after it: G = 3 + 0.5 * 4 = 5.
    returns = monte_carlo_returns([1.0, 2.0, 3.0], [False, True, True], [9.0, 0.0, 4.0], gamma=0.5)
    assert returns == [2.0, 2.0, 5.0]


def test_a_one_turn_dialogue_returns_its_reward():
    assert monte_carlo_returns([7.0], [True], [0.0], gamma=0.95) == [7.0]


def test_explained_variance_is_one_when_perfect_and_zero_for_a_constant():
    observed = tensor([1.0, 2.0, 3.0])
    assert explained_variance(observed, observed) == 1.0
    assert explained_variance(torch.full((3,), 9.0), observed) == pytest.approx(0.0)
    # Errors -2, 0, 2 have four times the variance of the returns: 1 - 4.
    assert explained_variance(tensor([3.0, 2.0, 1.0]), observed) == pytest.approx(-3.0)


def test_explained_variance_of_equal_returns_is_not_a_number_anybody_could_read():
    assert explained_variance(tensor([1.0, 2.0]), tensor([3.0, 3.0])) is None

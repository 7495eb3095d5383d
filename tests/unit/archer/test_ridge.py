"""Ridge regression against what it must be."""

import pytest
import torch
from torch import tensor

from worker.archer.ridge import Line, Ridge

FEATURES = tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]])
EQUAL = torch.ones(4)


def test_almost_without_a_penalty_a_line_is_found_again():
    target = Line(tensor([2.0, -1.0]).double(), tensor(0.5).double())(FEATURES)
    found = Ridge(FEATURES, EQUAL, 1e-12).fit(target)
    assert found.slope.tolist() == pytest.approx([2.0, -1.0])
    assert found.at_zero.item() == pytest.approx(0.5)


def test_a_large_penalty_leaves_the_weighted_mean():
    weight, target = tensor([1.0, 1.0, 1.0, 5.0]), tensor([1.0, 2.0, 3.0, 10.0])
    found = Ridge(FEATURES, weight, 1e9).fit(target)
    assert found(FEATURES).tolist() == pytest.approx([7.0] * 4, abs=1e-6)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 10.0])
def test_the_weighted_mean_of_what_is_left_over_is_zero(penalty: float):
    weight, target = tensor([0.5, 2.0, 1.0, 3.0]).double(), tensor([1.0, -2.0, 3.0, 0.0]).double()
    left = target - Ridge(FEATURES, weight, penalty).fit(target)(FEATURES)
    assert (weight * left).sum().item() == pytest.approx(0.0, abs=1e-12)


def test_one_feature_by_hand():
    # z = (-1, 1), mean 3, covariance 2, variance 1: the slope is 2 / (1 + 1), and the spread is 1.
    found = Ridge(tensor([[0.0], [2.0]]), torch.ones(2), 1.0).fit(tensor([1.0, 5.0]))
    assert (found.slope.item(), found.at_zero.item()) == pytest.approx((1.0, 2.0))


def test_a_feature_that_never_varies_says_nothing():
    flat = torch.cat([FEATURES, torch.full((4, 1), 7.0)], dim=1)
    target = tensor([1.0, 2.0, 3.0, 5.0])
    found, without = Ridge(flat, EQUAL, 0.1).fit(target), Ridge(FEATURES, EQUAL, 0.1).fit(target)
    assert found.slope[2].item() == 0.0
    assert torch.allclose(found(flat), without(FEATURES))

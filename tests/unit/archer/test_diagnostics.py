"""Figures about a critic, by hand, and what must not change them."""

import math

import pytest
import torch
from torch import tensor

from worker.archer.diagnostics import (
    advantage_spread,
    calibration_error,
    positive_share,
    rank_correlation,
    twin_gap,
)


def test_the_rank_correlation_asks_for_the_order_only():
    observed = tensor([1.0, 2.0, 5.0, 100.0])
    assert rank_correlation(observed.log(), observed) == pytest.approx(1.0)
    assert rank_correlation(-observed, observed) == pytest.approx(-1.0)
    # Ranks 1 3 2 4: differences 0 1 -1 0, so 1 - 6·2 / (4·15).
    assert rank_correlation(tensor([1.0, 3.0, 2.0, 4.0]), observed) == pytest.approx(0.8)


def test_tied_values_share_their_mean_rank():
    # Ranks 1 2½ 2½ 4 and 1 2 3 4: covariance 4½, sums of squares 4½ and 5.
    correlation = rank_correlation(tensor([1.0, 2.0, 2.0, 3.0]), tensor([1.0, 2.0, 3.0, 4.0]))
    assert correlation == pytest.approx(4.5 / math.sqrt(22.5))


def test_the_order_in_which_turns_are_given_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randint(0, 5, (30,), generator=generator).float()
    observed = torch.randint(0, 5, (30,), generator=generator).float()
    order = torch.randperm(30, generator=generator)
    assert rank_correlation(prediction[order], observed[order]) == rank_correlation(prediction, observed)
    shuffled = calibration_error(prediction[order], observed[order], 4)
    assert shuffled == pytest.approx(calibration_error(prediction, observed, 4))


def test_constant_values_have_no_rank_correlation():
    assert rank_correlation(tensor([1.0, 1.0]), tensor([1.0, 2.0])) is None
    assert rank_correlation(tensor([1.0, 2.0]), tensor([3.0, 3.0])) is None
    assert rank_correlation(tensor([1.0]), tensor([2.0])) is None


def test_the_calibration_error_compares_means_bin_by_bin():
    # Bins {0, 1} and {2, 3}: gaps 0 and 2, their mean 1; the observed have an sd of √4.25.
    error = calibration_error(tensor([2.0, 0.0, 3.0, 1.0]), tensor([4.0, 0.0, 5.0, 1.0]), bins=2)
    assert error == pytest.approx(1 / math.sqrt(4.25))


def test_bins_of_unequal_size_count_by_their_turns():
    # Three equal predictions stay together, mean observed 1; the fourth is off by 4: (3·1 + 1·4) / 4 over sd √6.1875.
    error = calibration_error(tensor([0.0, 0.0, 0.0, 2.0]), tensor([0.0, 0.0, 3.0, 6.0]), bins=2)
    assert error == pytest.approx(1.75 / math.sqrt(6.1875))


def test_right_predictions_and_a_right_constant_are_calibrated():
    observed = tensor([1.0, 2.0, 4.0, 5.0])
    assert calibration_error(observed, observed, bins=4) == 0.0
    assert calibration_error(torch.full((4,), 3.0), observed, bins=4) == 0.0


def test_the_unit_and_zero_of_the_rewards_do_not_matter_to_a_calibration():
    prediction, observed = tensor([0.0, 1.0, 2.0, 3.0]), tensor([0.0, 3.0, 2.0, 5.0])
    error = calibration_error(prediction, observed, bins=2)
    assert calibration_error(10 * prediction + 7, 10 * observed + 7, bins=2) == pytest.approx(error)


def test_noise_alone_has_the_calibration_error_that_its_description_says():
    generator = torch.Generator().manual_seed(0)
    prediction = 1e-3 * torch.randn(4000, generator=generator)
    observed = torch.randn(4000, generator=generator)
    assert calibration_error(prediction, observed, bins=100) == pytest.approx(0.8 * math.sqrt(100 / 4000), rel=0.2)


def test_equal_outcomes_calibrate_nothing():
    assert calibration_error(tensor([1.0, 2.0]), tensor([3.0, 3.0]), bins=2) is None


def test_the_twin_gap_is_the_members_disagreement_in_the_values_sd():
    # Gaps 1 and 3, mean 2; mean members 1.5 and 5.5, sd 2. A member in between changes neither extreme.
    assert twin_gap(tensor([[1.0, 4.0], [2.0, 7.0]])) == pytest.approx(1.0)
    assert twin_gap(tensor([[1.0, 4.0], [2.0, 7.0], [1.5, 5.5]])) == pytest.approx(1.0)
    assert twin_gap(tensor([[1.0, 2.0], [1.0, 2.0]])) == 0.0
    assert twin_gap(tensor([[1.0, 1.0], [2.0, 2.0]])) is None


def test_a_zero_advantage_is_not_positive():
    assert positive_share(tensor([1.0, 0.0, -1.0, 3.0])) == 0.5


def test_the_advantage_spread_is_that_of_replies_beside_that_of_states():
    # Sd over replies 1 and 0, mean ½; state values 2 and 6, sd 2.
    assert advantage_spread(tensor([[1.0, 3.0], [6.0, 6.0]])) == pytest.approx(0.25)


def test_a_critic_that_hears_the_state_only_has_no_advantage_spread():
    assert advantage_spread(tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])) == 0.0
    assert advantage_spread(tensor([[1.0, 3.0], [3.0, 1.0]])) is None

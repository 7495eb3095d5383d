"""Ratios, sample sizes and divergences by hand."""

import math

import pytest
from torch import tensor
from torch.testing import assert_close

from worker.archer.importance import (
    effective_sample_size,
    kl_estimate,
    summed_log_ratios,
    truncated_ratio,
    turn_ratio,
)


def test_the_ratio_is_truncated_above_and_free_below():
    # log-ratios ln 2 (exactly at c), ln 4 (above) and -ln 2 (below).
    logprobs = tensor([math.log(0.4), math.log(0.8), math.log(0.1)])
    behaviour = tensor([math.log(0.2)] * 3)
    assert_close(truncated_ratio(logprobs, behaviour, 2.0), tensor([2.0, 2.0, 0.5]))


def test_no_gradient_runs_through_the_ratio():
    logprobs, behaviour = tensor([-1.0], requires_grad=True), tensor([-1.0], requires_grad=True)
    assert not truncated_ratio(logprobs, behaviour, 2.0).requires_grad
    assert not turn_ratio(logprobs, behaviour, tensor([0]), turns=1).requires_grad


def test_log_ratios_are_summed_a_turn_and_counted():
    # Turn 2: 1 + 0.5, its tokens on both sides of turn 0's. Turn 1 has no token.
    total, length = summed_log_ratios(
        tensor([-1.0, -4.0, -1.5]), tensor([-2.0, -2.0, -2.0]), tensor([2, 0, 2]), turns=3
    )
    assert_close(total, tensor([-2.0, 0.0, 1.5]))
    assert_close(length, tensor([1.0, 0.0, 2.0]))


def test_a_turns_ratio_is_the_geometric_mean_of_its_tokens():
    # Turn 0: log-ratios 1 and 0, mean 0.5. Turn 2: -2. Turn 1 has no token here and weighs one.
    ratio = turn_ratio(tensor([-1.0, -1.0, -4.0]), tensor([-2.0, -1.0, -2.0]), tensor([0, 0, 2]), turns=3)
    assert_close(ratio, tensor([math.exp(0.5), 1.0, math.exp(-2.0)]))


def test_equal_weights_are_worth_their_number_and_one_heavy_weight_is_worth_one():
    assert effective_sample_size(tensor([2.0, 2.0, 2.0])).item() == pytest.approx(3.0)
    assert effective_sample_size(tensor([1.0, 0.0, 0.0])).item() == pytest.approx(1.0)
    assert effective_sample_size(tensor([1.0, 2.0])).item() == pytest.approx(9 / 5)  # (1 + 2)² / (1 + 4)


def test_the_kl_of_equal_policies_is_zero_and_of_others_positive():
    start = tensor([-1.0, -2.0])
    assert kl_estimate(start, start, tensor([1.0, 1.0])).item() == 0.0
    # d = ln 2 and 0: (2 - 1 - ln 2 + 0) / 2 = 0.153426.
    moved = tensor([-1.0 + math.log(2), -2.0])
    assert kl_estimate(moved, start, tensor([1.0, 1.0])).item() == pytest.approx(0.1534264)


def test_the_kl_weighs_tokens_as_the_start_policy_would_have_sampled_them():
    moved = tensor([math.log(2), 0.0])
    # Weights 3 and 1: 3 * (1 - ln 2) / 4 = 0.230140.
    assert kl_estimate(moved, tensor([0.0, 0.0]), tensor([3.0, 1.0])).item() == pytest.approx(0.2301396)

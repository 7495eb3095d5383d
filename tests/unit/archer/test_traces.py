"""Traces by hand, and what they carry back."""

import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from worker.archer.traces import carry_back, full_product_trace, length_normalised_trace, mean_trace_length

HALF = math.log(0.5)


def test_a_trace_is_the_geometric_mean_of_its_tokens_ratios():
    # Turn 0: ratios ½ and ⅛, their geometric mean ¼. Turn 1: ratio ½. Both times λ = 0.8.
    logprobs = tensor([HALF - 1, 3 * HALF - 1, HALF - 1])
    trace = length_normalised_trace(logprobs, tensor([-1.0] * 3), tensor([0, 0, 1]), turns=2, lam=0.8)
    assert_close(trace, tensor([0.2, 0.4]))


def test_the_full_product_multiplies_the_tokens_ratios():
    logprobs = tensor([HALF - 1, 3 * HALF - 1, HALF - 1])
    trace = full_product_trace(logprobs, tensor([-1.0] * 3), tensor([0, 0, 1]), turns=2, lam=0.8)
    assert_close(trace, tensor([0.8 / 16, 0.4]))


@pytest.mark.parametrize("trace_of", [length_normalised_trace, full_product_trace])
def test_what_the_policy_now_says_more_often_is_carried_whole_and_never_more(trace_of):
    # Log-ratios 1 and 90; e⁹⁰ is beyond float32.
    trace = trace_of(tensor([0.0, 0.0]), tensor([-1.0, -90.0]), tensor([0, 1]), turns=2, lam=0.9)
    assert_close(trace, tensor([0.9, 0.9]))


@pytest.mark.parametrize("trace_of", [length_normalised_trace, full_product_trace])
def test_a_turn_of_unknown_logprobs_cuts_the_trace(trace_of):
    trace = trace_of(tensor([-1.0]), tensor([-1.0]), tensor([1]), turns=3, lam=0.9)
    assert_close(trace, tensor([0.0, 0.9, 0.0]))


@pytest.mark.parametrize("trace_of", [length_normalised_trace, full_product_trace])
def test_without_any_token_every_trace_is_cut(trace_of):
    trace = trace_of(tensor([]), tensor([]), torch.zeros(0, dtype=torch.long), turns=2, lam=0.9)
    assert_close(trace, tensor([0.0, 0.0]))


@pytest.mark.parametrize("trace_of", [length_normalised_trace, full_product_trace])
def test_no_gradient_runs_through_a_trace(trace_of):
    logprobs = tensor([-2.0], requires_grad=True)
    assert not trace_of(logprobs, tensor([-1.0]), tensor([0]), turns=1, lam=0.9).requires_grad


def test_the_order_of_a_turns_tokens_does_not_matter():
    logprobs, behaviour = tensor([-1.0, -2.5, -0.5, -3.0]), tensor([-0.5, -2.0, -1.0, -1.0])
    turn, shuffled = tensor([0, 1, 0, 1]), tensor([2, 3, 0, 1])
    for trace_of in (length_normalised_trace, full_product_trace):
        in_order = trace_of(logprobs, behaviour, turn, 2, 1.0)
        assert_close(trace_of(logprobs[shuffled], behaviour[shuffled], turn[shuffled], 2, 1.0), in_order)


def test_the_full_product_over_a_long_reply_leaves_almost_nothing_and_the_mean_most_of_it():
    # 32 tokens whose log-ratios have an sd of .3 and, as μ spoke, a mean of -.3²/2.
    generator = torch.Generator().manual_seed(0)
    turns = 4000
    log_ratio = 0.3 * torch.randn(turns * 32, generator=generator) - 0.045
    turn = torch.arange(turns).repeat_interleave(32)
    product = full_product_trace(log_ratio, torch.zeros_like(log_ratio), turn, turns, 1.0).mean().item()
    mean = length_normalised_trace(log_ratio, torch.zeros_like(log_ratio), turn, turns, 1.0).mean().item()
    assert product == pytest.approx(0.40, abs=0.02)
    assert product**5 == pytest.approx(0.01, abs=0.003)
    assert mean > 0.93


def test_amounts_are_carried_back_within_their_episode_only():
    # 4; 2 + ½·4 = 4; 1 + ½·4 = 3. Then an episode of its own. A turn's own factor is for the turns before it.
    ends = tensor([False, False, True, True])
    total = carry_back(tensor([1.0, 2.0, 4.0, 8.0]), tensor([9.0, 0.5, 0.5, 9.0]), ends)
    assert_close(total, tensor([3.0, 4.0, 4.0, 8.0]))


def test_what_is_carried_back_is_a_new_tensor_without_gradient():
    amount = tensor([1.0, 2.0], requires_grad=True)
    total = carry_back(amount, tensor([1.0, 1.0]), tensor([False, True]))
    assert not total.requires_grad
    assert amount.tolist() == [1.0, 2.0]


def test_an_episode_without_its_last_turn_is_refused():
    with pytest.raises(ValueError, match="not the end of an episode"):
        carry_back(tensor([1.0, 2.0]), tensor([1.0, 1.0]), tensor([True, False]))


def test_no_turns_carry_nothing():
    assert carry_back(tensor([]), tensor([]), torch.zeros(0, dtype=torch.bool)).tolist() == []


def test_the_mean_trace_length_counts_the_further_turns_that_are_heard():
    ends = tensor([False, False, True, True])
    assert mean_trace_length(tensor([1.0] * 4), ends).item() == pytest.approx(0.75)  # (2 + 1 + 0 + 0) / 4
    assert mean_trace_length(tensor([0.0] * 4), ends).item() == 0.0
    # Turn 0 hears ½ of the next and ½·¼ of the one after, turn 1 hears ¼ of the next: (.625 + .25) / 4.
    assert mean_trace_length(tensor([1.0, 0.5, 0.25, 1.0]), ends).item() == pytest.approx(0.21875)

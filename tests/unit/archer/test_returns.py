"""Targets and returns against numbers worked out by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import tensor
from torch.testing import assert_close

from worker.archer.returns import (
    explained_variance,
    monte_carlo_returns,
    retrace_target,
    steady_value,
    td_target,
)


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


def random_episodes(lengths, seed, ensemble=2):
    """Keyword arguments of retrace_target for episodes of these lengths; every other one ends for good."""
    generator = torch.Generator().manual_seed(seed)
    turns = sum(lengths)
    last = torch.tensor(lengths).cumsum(0) - 1
    ends = torch.zeros(turns, dtype=torch.bool)
    ends[last] = True
    bootstraps = torch.ones(turns)
    bootstraps[last[::2]] = 0.0
    return {
        "reward": torch.randn(turns, generator=generator),
        "q": torch.randn(ensemble, turns, generator=generator),
        "next_value": torch.randn(ensemble, turns, generator=generator),
        "bootstraps": bootstraps,
        "ends": ends,
        "trace": torch.rand(turns, generator=generator),
        "gamma": 0.9,
    }


def slow_retrace(reward, q, next_value, bootstraps, ends, trace, gamma):
    """The sum as it is written, one turn and one member at a time."""
    y = q.clone()
    for member in range(q.shape[0]):
        for t in range(len(reward)):
            product = 1.0
            for k in range(t, len(reward)):
                if k > t:
                    product *= trace[k].item()
                surprise = reward[k] + gamma * bootstraps[k] * next_value[member, k] - q[member, k]
                y[member, t] += gamma ** (k - t) * product * surprise
                if ends[k]:
                    break
    return y


def test_retrace_hears_of_the_next_turns_surprise_through_the_trace():
    # Turn 1 ends for good: surprise 4 - 3 = 1, y = 4. Turn 0: surprise 1 + ½·6 - 2 = 2, y = 2 + 2 + ½·0.8·1 = 4.4.
    y = retrace_target(
        reward=tensor([1.0, 4.0]),
        q=tensor([2.0, 3.0]),
        next_value=tensor([6.0, 99.0]),
        bootstraps=tensor([1.0, 0.0]),
        ends=tensor([False, True]),
        trace=tensor([99.0, 0.8]),
        gamma=0.5,
    )
    assert_close(y, tensor([4.4, 4.0]))


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_retrace_is_the_sum_that_its_equation_says(lengths, seed):
    turns = random_episodes(lengths, seed)
    assert_close(retrace_target(**turns), slow_retrace(**turns))


def test_retrace_without_trace_is_one_step_td():
    turns = random_episodes([3, 1, 4], seed=1)
    turns["trace"] = torch.zeros(8)
    one_step = td_target(turns["reward"], turns["next_value"], turns["bootstraps"], turns["gamma"])
    assert_close(retrace_target(**turns), one_step)


def test_retrace_with_a_full_trace_on_policy_is_the_monte_carlo_return_with_its_bootstrap():
    # On policy with one reply a state: the value after a turn is the Q of the next one.
    turns = random_episodes([3, 1, 4], seed=2, ensemble=1)
    ends, q = turns["ends"], turns["q"]
    turns["trace"] = torch.ones(8)
    turns["next_value"] = torch.where(ends, turns["next_value"], q.roll(-1, dims=1))
    after = (turns["bootstraps"] * turns["next_value"][0]).tolist()
    returns = monte_carlo_returns(turns["reward"].tolist(), ends.tolist(), after, turns["gamma"])
    assert_close(retrace_target(**turns)[0], tensor(returns))


def test_retrace_leaves_values_that_are_already_right_where_they_are():
    # Q = r + γ V everywhere: no surprise, whatever the traces.
    turns = random_episodes([2, 5], seed=3)
    turns["q"] = td_target(turns["reward"], turns["next_value"], turns["bootstraps"], turns["gamma"])
    assert_close(retrace_target(**turns), turns["q"])


def test_one_episode_says_nothing_about_another():
    turns = random_episodes([3, 2], seed=4)
    alone = {key: value if key == "gamma" else value[..., :3] for key, value in turns.items()}
    turns["reward"][3:] = 1e6
    assert_close(retrace_target(**turns)[:, :3], retrace_target(**alone))


def test_the_order_of_the_episodes_does_not_matter():
    turns = random_episodes([3, 2], seed=5)
    order = tensor([3, 4, 0, 1, 2])
    swapped = {key: value if key == "gamma" else value[..., order] for key, value in turns.items()}
    assert_close(retrace_target(**swapped), retrace_target(**turns)[:, order])


def test_no_gradient_runs_through_the_retrace_target():
    turns = random_episodes([3], seed=6)
    turns["q"].requires_grad_()
    turns["next_value"].requires_grad_()
    turns["trace"].requires_grad_()
    assert not retrace_target(**turns).requires_grad


def test_a_single_value_function_needs_no_ensemble_dimension():
    turns = random_episodes([2, 2], seed=7)
    single = turns | {"q": turns["q"][0], "next_value": turns["next_value"][0]}
    assert_close(retrace_target(**single), retrace_target(**turns)[0])


def test_monte_carlo_returns_are_discounted_to_the_end_of_each_episode():
    # First episode, ends for good: G₁ = 2, G₀ = 1 + 0.5 * 2 = 2. Second, cut with V = 4 after it: G = 3 + 0.5 * 4 = 5.
    returns = monte_carlo_returns([1.0, 2.0, 3.0], [False, True, True], [9.0, 0.0, 4.0], gamma=0.5)
    assert returns == [2.0, 2.0, 5.0]


def test_a_one_turn_dialogue_returns_its_reward():
    assert monte_carlo_returns([7.0], [True], [0.0], gamma=0.95) == [7.0]


def test_the_steady_value_of_dialogues_that_ended_is_their_mean_return():
    # G = 1 + 0.5 * 2 and 2; and 4: mean 8 / 3
    assert steady_value([1.0, 2.0, 4.0], [False, True, True], [0.0, 0.0, 0.0], 0.5) == pytest.approx(8 / 3)


def test_the_steady_value_is_the_one_that_its_own_bootstrap_brings_back():
    # One dialogue was cut after two turns of -1 at gamma 0.5, one ended: with v after the cut the returns are
    # -1.5 + v/4, -1 + v/2 and 0, so v = (-2.5 + 3v/4) / 3 and v = -10/9.
    v = steady_value([-1.0, -1.0, 0.0], [False, True, True], [0.0, 1.0, 0.0], 0.5)
    assert v == pytest.approx(-10 / 9)
    returns = monte_carlo_returns([-1.0, -1.0, 0.0], [False, True, True], [0.0, v, 0.0], 0.5)
    assert sum(returns) / 3 == pytest.approx(v)


def test_where_every_dialogue_was_cut_each_turn_goes_on_costing():
    # -1 a turn for ever: v = -1 / (1 - 0.9), however long the stretches are that were seen of it
    for turns in (1, 2, 20):
        ends = [False] * (turns - 1) + [True]
        assert steady_value([-1.0] * turns, ends, [float(end) for end in ends], 0.9) == pytest.approx(-10.0)


def test_where_nothing_ends_and_nothing_is_discounted_the_steady_value_is_what_was_seen():
    assert steady_value([-1.0, -1.0], [False, True], [0.0, 1.0], 1.0) == pytest.approx(-1.5)


def test_explained_variance_is_one_when_perfect_and_zero_for_a_constant():
    observed = tensor([1.0, 2.0, 3.0])
    assert explained_variance(observed, observed) == 1.0
    assert explained_variance(torch.full((3,), 9.0), observed) == pytest.approx(0.0)
    # Errors -2, 0, 2 have four times the variance of the returns: 1 - 4.
    assert explained_variance(tensor([3.0, 2.0, 1.0]), observed) == pytest.approx(-3.0)


def test_explained_variance_of_equal_returns_is_not_a_number_anybody_could_read():
    assert explained_variance(tensor([1.0, 2.0]), tensor([3.0, 3.0])) is None

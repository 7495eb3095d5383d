"""Judges against a world whose values are known, and that none of them heard of whom it judges."""

import pytest
import torch
from torch.nn.functional import one_hot

from tests.unit.archer.small_world import LOGGED, OTHER, all_conversations, true_q, true_v
from worker.archer.judging import FOLDS, CrossFit, Replies, Turns, choose_penalty, fit_judge, folds_of, returns_of
from worker.archer.off_policy import cumulative_weights

WORLD = all_conversations()


def turns(*, weight: torch.Tensor | None = None) -> Turns:
    """The world's turns with a feature for each place, and one for each reply there."""
    weight = cumulative_weights(WORLD.log_ratio) if weight is None else weight
    rows = len(WORLD.reward)
    return Turns(
        state=one_hot(WORLD.state.flatten(), 3).double(),
        action=one_hot((2 * WORLD.state + WORLD.reply).flatten(), 6).double(),
        reward=WORLD.reward.flatten(),
        ends=torch.tensor([False, True]).repeat(rows),
        weight=weight.flatten(),
        unit=torch.arange(rows).repeat_interleave(2),
    )


def nothing_said(of: Turns) -> Replies:
    return Replies(of.state[:0], of.action[:0], of.weight[:0], of.unit[:0])


def test_returns_are_what_came_to_the_end_of_the_conversation():
    found = returns_of(turns()).view(-1, 2)
    assert torch.equal(found[:, 0], WORLD.reward.sum(dim=1))
    assert torch.equal(found[:, 1], WORLD.reward[:, 1])


def test_with_a_feature_for_everything_the_judge_finds_the_policys_values():
    logged = turns()
    judge = fit_judge(logged, nothing_said(logged), 1e-9)
    assert torch.allclose(judge.q(logged.action), true_q(OTHER, WORLD).flatten(), atol=1e-4)
    assert torch.allclose(judge.v(logged.state), true_v(OTHER, WORLD).flatten(), atol=1e-4)


def test_with_weights_of_one_it_finds_the_values_of_who_spoke():
    logged = turns(weight=torch.ones_like(WORLD.reward))
    judge = fit_judge(logged, nothing_said(logged), 1e-9)
    assert torch.allclose(judge.v(logged.state), true_v(LOGGED, WORLD).flatten(), atol=1e-4)


def test_replies_of_the_policy_itself_take_the_place_of_weights():
    logged = turns(weight=torch.zeros_like(WORLD.reward))
    # The policy's own replies at every place, as often as it gives them there: quarters.
    said = [(state, reply) for state in (0, 1, 2) for reply in (0, 1) for _ in range(round(4 * share(state, reply)))]
    state, reply = torch.tensor(said).T
    replies = Replies(
        one_hot(state, 3).double(),
        one_hot(2 * state + reply, 6).double(),
        torch.ones(len(said)),
        torch.zeros(len(said)),
    )
    judge = fit_judge(logged, replies, 1e-9)
    assert torch.allclose(judge.v(logged.state), true_v(OTHER, WORLD).flatten(), atol=1e-4)


def share(state: int, reply: int) -> float:
    return OTHER[state] if reply else 1 - OTHER[state]


def test_no_value_leaves_the_range_of_what_came():
    logged = turns()
    judge = fit_judge(logged, nothing_said(logged), 0.1)
    far = 100 * torch.ones(1, 6).double()
    assert judge.low <= judge.q(far).item() <= judge.high
    assert (judge.low, judge.high) == (returns_of(logged).min().item(), returns_of(logged).max().item())


def test_a_unit_is_in_one_fold_and_folds_are_as_equal_as_can_be():
    unit = torch.arange(10).repeat_interleave(3)
    fold = folds_of(unit, FOLDS, torch.Generator().manual_seed(0)).view(10, 3)
    assert all(len(set(row)) == 1 for row in fold.tolist())
    assert sorted(torch.bincount(fold[:, 0]).tolist()) == [3, 3, 4]


@pytest.mark.parametrize("which", ["judge_policy", "judge_logged"])
def test_a_unit_is_judged_by_who_never_heard_of_it(which: str):
    logged = turns()
    told_otherwise = logged.reward.clone()
    told_otherwise[:2] = 0.75
    before, after = (
        getattr(CrossFit(each, nothing_said(each), torch.Generator().manual_seed(3)), which)()
        for each in (logged, logged._replace(reward=told_otherwise))
    )
    assert torch.equal(before.q[:2], after.q[:2])
    assert torch.equal(before.v[:2], after.v[:2])
    assert not torch.equal(before.q, after.q)


def test_features_that_tell_nothing_get_the_strongest_penalty():
    logged = turns()
    generator = torch.Generator().manual_seed(0)
    # As many random features as a tenth of the turns: all that they can do is to learn by heart.
    noise = logged._replace(
        action=torch.randn(200, 100, generator=generator).double(),
        **{name: getattr(logged, name)[:200] for name in ("state", "reward", "ends", "weight", "unit")},
    )
    noise = noise._replace(reward=torch.randn(200, generator=generator).double())
    assert choose_penalty(noise, generator) >= 1.0
    assert choose_penalty(logged, generator) <= 0.1

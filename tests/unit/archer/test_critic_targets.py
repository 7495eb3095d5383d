"""Where Q and V go: one step, traces, the least member, fresh replies and expectiles, by hand."""

from dataclasses import replace

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from tests.unit.archer.networks import EVERY
from worker.archer.critic_training import critic_losses, critic_targets
from worker.archer.returns import td_target


def targets(networks, *, turns=EVERY, trace=0.0, fresh_values=None, **changes):
    lessons = networks.lessons(trace=trace, fresh_values=fresh_values)
    taken = lessons.dialogues.take(turns)
    return critic_targets(networks.target, lessons, turns, taken, replace(networks.config, **changes))


def test_without_traces_the_target_is_one_step(networks):
    lessons = networks.lessons()
    q, after = networks.target.q(lessons.features), networks.target.v_following(lessons.features)
    found = targets(networks)
    dialogues = lessons.dialogues
    assert_close(found.q, td_target(dialogues.reward, after, dialogues.bootstraps, networks.config.gamma))
    assert_close(found.v, q)
    assert not found.q.requires_grad
    assert not found.v.requires_grad


def test_with_traces_a_later_turns_surprise_reaches_the_turns_before_it(networks):
    q, v = (values.tolist() for values in known_values(networks))
    found = targets(networks, trace=0.625, lam=0.8, gamma=0.8).q
    # Episode c, cut by a cap: turn 4 earned 0, turn 5 earned -1.
    for member in (0, 1):
        last = -1.0 + 0.8 * v[member][5]
        assert found[member, 5].item() == pytest.approx(last, rel=1e-4)
        before = 0.0 + 0.8 * v[member][4] + 0.8 * 0.5 * (last - q[member][5])
        assert found[member, 4].item() == pytest.approx(before, rel=1e-4)
    # Episode b has one turn, which ended for good with 2.
    assert_close(found[:, 3], tensor([2.0, 2.0]))


def known_values(networks):
    """Q̄ of each turn, and V̄ of what follows it."""
    features = networks.lessons().features
    return networks.target.q(features), networks.target.v_following(features)


def test_pessimistic_targets_take_the_least_member_and_others_each_their_own(networks):
    q, v = known_values(networks)
    least = targets(networks, pessimistic_targets=True)
    assert_close(least.v, q.amin(dim=0).expand(2, 6))
    assert_close(least.q[0, 4], networks.config.gamma * v[:, 4].min())
    assert torch.equal(least.q[0], least.q[1])
    own = targets(networks)
    assert (own.q[0] - own.q[1]).abs().max() > 0.01


def test_targets_of_some_episodes_are_those_of_all(networks):
    found, whole = targets(networks, turns=[4, 5, 3], trace=0.5), targets(networks, trace=0.5)
    assert_close(found.q, whole.q[:, [4, 5, 3]])
    assert_close(found.v, whole.v[:, [4, 5, 3]])


def test_a_sampled_v_goes_to_what_fresh_utterances_are_worth_and_weighs_all_turns_alike(networks):
    fresh = torch.arange(12.0).view(2, 6)
    lessons = networks.lessons(fresh_values=lambda turns: fresh[:, list(turns)])
    sampled = replace(networks.config, value="sampled")
    assert_close(targets(networks, fresh_values=lambda turns: fresh[:, list(turns)]).v, fresh)
    (loss,) = critic_losses(networks.critic, networks.target, lessons, EVERY, sampled)
    features, scale = lessons.features, networks.critic.heads.scale
    q, v = networks.critic.q(features), networks.critic.v(features)
    expected = ((q - targets(networks).q).square() + (v - fresh).square()).sum() / 6 / scale**2
    assert_close(loss, expected)


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_an_expectile_v_weighs_replies_above_it_more(networks, expectile):
    lessons = networks.lessons()
    changed = replace(networks.config, value="expectile", expectile=expectile)
    (loss,) = critic_losses(networks.critic, networks.target, lessons, EVERY, changed)
    q, v = networks.critic.q(lessons.features), networks.critic.v(lessons.features)
    goal, scale = targets(networks), networks.critic.heads.scale
    above = goal.v >= v
    assert 0 < above.sum() < above.numel()
    weight = torch.where(above, expectile, 1 - expectile)
    assert_close(loss, ((q - goal.q).square() + weight * (v - goal.v).square()).sum() / 6 / scale**2)

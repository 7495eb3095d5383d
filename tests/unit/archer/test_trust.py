"""When the actor may follow the critic: the gate, the warm-up, and what the figures say until then."""

from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import dialogue
from worker.archer.dialogues import is_held_out

NAMES = [f"conversation {number}" for number in range(8)]
SHARE = 0.4


def turns():
    """Each conversation earns its own number."""
    return [each for number, name in enumerate(NAMES) for each in dialogue(name, (float(number),))]


def actor_of(learner):
    return {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.fixture
def gated(config):
    return replace(config, held_out_share=SHARE, critic_gate=0.0, probed_states=0)


def test_a_critic_that_ranks_worse_than_asked_leaves_the_actor_and_the_figures_say_why(make_learner, gated):
    figures = make_learner(replace(gated, critic_gate=None)).update(turns())
    assert figures.actor_skipped is None
    found = figures.critic.rank_correlation
    assert -1 < found < 1
    strict = make_learner(replace(gated, critic_gate=found + 1e-3))
    before = actor_of(strict)
    refused = strict.update(turns())
    assert refused.actor is None
    assert f"rank correlation of {found:.2f} with what came, and critic_gate is {found + 1e-3}" in refused.actor_skipped
    assert same(before, actor_of(strict))
    assert refused.critic == figures.critic  # the critic has learned all the same
    kind = make_learner(replace(gated, critic_gate=found - 1e-3))
    before = actor_of(kind)
    assert kind.update(turns()).actor_skipped is None
    assert not same(before, actor_of(kind))


def test_where_all_held_out_turns_returned_alike_nothing_shows_that_the_critic_can_be_trusted(make_learner, gated):
    learner = make_learner(gated)
    before = actor_of(learner)
    flat = [replace(each, reward=1.0) if is_held_out(each.episode, SHARE) else each for each in turns()]
    figures = learner.update(flat)
    assert figures.critic.rank_correlation is None
    assert "no two held-out turns had different returns" in figures.actor_skipped
    assert same(before, actor_of(learner))


def test_a_critic_that_was_trusted_once_is_not_asked_again_not_even_by_who_goes_on_with_it(
    make_learner, gated, tmp_path
):
    config = replace(gated, critic_gate=-1.0)
    learner = make_learner(config)
    flat = [replace(each, reward=1.0) if is_held_out(each.episode, SHARE) else each for each in turns()]
    assert "no two held-out turns" in learner.update(flat).actor_skipped
    learner.save(tmp_path / "doubted.pt")
    assert learner.update(turns()).actor_skipped is None
    learner.save(tmp_path / "trusted.pt")
    assert learner.update(flat).actor_skipped is None
    for name, is_trusted in (("doubted.pt", False), ("trusted.pt", True)):
        again = make_learner(config)
        again.restore_critic(tmp_path / name)
        assert again.is_trusted == is_trusted


def test_the_actor_waits_until_the_critic_is_warm_and_no_longer(make_learner, gated, tmp_path):
    config = replace(gated, critic_gate=None, warmup_updates=2)
    learner = make_learner(config)
    before = actor_of(learner)
    for update in (1, 2):
        critic = learner.critic.state()
        figures = learner.update(turns())
        assert figures.actor_skipped == f"the critic warms up: update {update} of 2"
        assert not same(critic, learner.critic.state())
    assert same(before, actor_of(learner))
    learner.save(tmp_path / "critic.pt")
    assert learner.update(turns()).actor_skipped is None
    assert not same(before, actor_of(learner))
    # Whoever goes on with the critic does not warm it up again.
    again = make_learner(config)
    again.restore_critic(tmp_path / "critic.pt")
    assert again.update(turns()).actor_skipped is None


def test_an_update_that_failed_does_not_count_as_warm_up(make_learner, gated):
    learner = make_learner(replace(gated, warmup_updates=1))
    with pytest.raises(ArithmeticError):
        learner.update([replace(each, reward=3e38) for each in dialogue("a", (0.0, 0.0))])
    assert learner.updates == 0


def test_a_critic_that_was_trusted_once_is_not_asked_again_nor_after_a_restart(make_learner, gated, tmp_path):
    learner = make_learner(replace(gated, critic_gate=-1.0))
    assert learner.update(turns()).actor_skipped is None
    learner.save(tmp_path / "learner.pt")
    strict = make_learner(replace(gated, critic_gate=1.0))
    assert "cannot be trusted yet" in strict.update(turns()).actor_skipped
    strict.restore(tmp_path / "learner.pt")
    assert strict.update(turns()).actor_skipped is None

"""The one update in which the actor imitates the best fresh replies, as a critic new to trust finds them."""

from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import dialogue
from worker.archer.learner import leap_config

GOOD, BAD = 1.0, 0.0
LEAP = 3


@pytest.fixture
def leaping(config):
    return replace(config, leap_epochs=LEAP, candidates=8, actor_batch_turns=2, critic_steps=10, probed_states=0)


def turns():
    return [each for name, reward in (("a", GOOD), ("b", BAD), ("c", GOOD)) for each in dialogue(name, (0.0, reward))]


def learned(learner):
    figures = learner.update(turns())
    return figures, {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_the_first_update_of_the_actor_leaps_and_no_later_one(make_learner, leaping):
    learner = make_learner(leaping)
    assert learner.update(turns()).actor_leapt
    assert not learner.update(turns()).actor_leapt


def test_a_leap_is_the_update_of_its_own_config_to_the_bit(make_learner, leaping):
    figures, leapt = learned(make_learner(leaping))
    as_objective, imitated = learned(make_learner(replace(leap_config(leaping), leap_epochs=0)))
    assert figures.actor == as_objective.actor
    assert same(leapt, imitated)
    assert not same(leapt, learned(make_learner(replace(leaping, leap_epochs=0)))[1])


def test_a_leap_reads_no_state_twice_in_a_pass_and_passes_as_often_as_told(make_learner, leaping):
    learner = make_learner(replace(leaping, actor_batch_turns=1))
    asked = []
    say = learner._say_anew
    learner._say_anew = lambda states, each: asked.append((states, each)) or say(states, each)
    figures = learner.update(turns())
    ((states, each),) = asked
    assert ([state.prompt_ids for state in states], each) == ([turn.prompt_ids for turn in turns()], 8)
    assert figures.actor.steps % LEAP == 0
    assert LEAP <= figures.actor.steps <= LEAP * len(turns())


def test_a_critic_that_is_not_trusted_yet_keeps_its_leap(make_learner, leaping):
    learner = make_learner(replace(leaping, warmup_updates=1))
    assert not learner.update(turns()).actor_leapt
    assert learner.update(turns()).actor_leapt


def test_whoever_goes_on_with_a_critic_that_led_a_leap_does_not_leap_again(make_learner, leaping, tmp_path):
    learner = make_learner(leaping)
    learner.update(turns())
    learner.save(tmp_path / "critic.pt")
    again = make_learner(leaping)
    again.restore_critic(tmp_path / "critic.pt")
    assert not again.update(turns()).actor_leapt


def test_a_leap_that_found_nothing_to_imitate_is_not_used_up(make_learner, leaping):
    learner = make_learner(replace(leaping, critic_lr=1e-12, critic_steps=1))
    figures = learner.update(turns())
    assert (figures.actor_leapt, figures.actor_skipped) == (
        False,
        "no reply that was sampled is better than the critic expected",
    )
    assert not learner.has_leapt


def test_an_agent_that_asks_no_gate_leaps_and_its_critic_is_vouched_for_by_none(make_learner, leaping):
    learner = make_learner(replace(leaping, critic_gate=None))
    assert learner.update(turns()).actor_leapt
    assert not learner.is_trusted


def test_a_leap_stays_within_the_kl_budget(make_learner, leaping):
    bold = replace(leaping, actor_lr=1e-2, leap_epochs=20, kl_check_share=1.0)
    free = make_learner(bold).update(turns())
    bound = free.actor.kl_to_start / 3
    held = make_learner(replace(bold, kl_budget=bound)).update(turns())
    assert held.actor.stopped_by_kl
    assert held.actor.kl_to_start <= bound

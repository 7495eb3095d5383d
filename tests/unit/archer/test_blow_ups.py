"""What is not finite stops the update, is named, and moves nothing."""

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import dialogue
from worker.archer.actor import ADAPTER
from worker.archer.descent import NonFiniteUpdateError

TURNS = dialogue("a", (0.0, 1.0), on_policy=True) + dialogue("b", (0.0, 0.0), on_policy=True)
POLICY = {"critic_reader": "policy", "critic_encoding": "joint", "train_reader": True}


def everything(learner):
    return {
        **{f"critic {name}": weight for name, weight in learner.critic.state().items()},
        **{f"target {name}": weight for name, weight in learner.target.state().items()},
        **{f"actor {name}": weight for name, weight in learner.actor.adapter_state().items()},
    }


def moved(before, after):
    """Names of what is no longer what it was; a NaN that stayed one did not move."""
    return [name for name, weight in before.items() if not weight.nan_to_num(7.0).equal(after[name].nan_to_num(7.0))]


def poison(weight, value):
    with torch.no_grad():
        weight.view(-1)[0] = value


def last_linear(weights):
    """Of the last layer's end: some processors' attention swallows what is not a number before it reaches the loss."""
    return list(weights)[-1]


@pytest.fixture
def unprobed(config):
    return replace(config, probed_states=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("changes", [{}, POLICY, {"critic_head": "two_hot"}], ids=["encoder", "policy", "two-hot"])
def test_a_critic_that_blows_up_moves_nothing_and_its_episodes_are_named(make_learner, unprobed, value, changes):
    learner = make_learner(replace(unprobed, **changes))
    learner.update(TURNS)
    poison(learner.critic.heads.q[0].layers[-1].bias, value)
    before = everything(learner)
    with pytest.raises(NonFiniteUpdateError, match=r"critic's loss is .* on episodes (a, b|b, a)\."):
        learner.update(TURNS)
    assert moved(before, everything(learner)) == []


def test_a_readers_adapter_that_blows_up_leaves_the_actors_in_use(make_learner, unprobed):
    learner = make_learner(replace(unprobed, **POLICY))
    learner.update(TURNS)
    poison(last_linear(learner.critic.reader.trained().values()), math.nan)
    before = everything(learner)
    with pytest.raises(NonFiniteUpdateError, match="critic's loss is nan"):
        learner.update(TURNS)
    assert moved(before, everything(learner)) == []
    assert learner.actor.model.active_adapter == ADAPTER


def test_an_actor_that_blows_up_moves_nothing_of_its_own(make_learner, unprobed):
    learner = make_learner(unprobed)
    poison(last_linear(learner.actor.parameters()), math.nan)
    before = everything(learner)
    with pytest.raises(NonFiniteUpdateError, match=r"actor's loss is nan .* on episodes a, b\."):
        learner.update(TURNS)
    # The critic had learned before; that stays.
    assert [name for name in moved(before, everything(learner)) if name.startswith("actor")] == []


def test_a_policy_that_cannot_be_sampled_from_is_said_to_be_broken(make_learner, unprobed):
    learner = make_learner(replace(unprobed, probed_states=2))
    poison(last_linear(learner.actor.parameters()), math.nan)
    with pytest.raises(NonFiniteUpdateError, match="policy finds no next token likely"):
        learner.update(TURNS)


def test_a_step_so_large_that_the_next_one_blows_up_is_the_last(make_learner, unprobed):
    learner = make_learner(replace(unprobed, actor_lr=1e30, actor_epochs=5))
    with pytest.raises(NonFiniteUpdateError, match="actor's loss is"):
        learner.update(TURNS)
    assert all(weight.isfinite().all() for weight in learner.actor.adapter_state().values())


@pytest.mark.parametrize("budget", [0.1, None])
def test_a_last_step_that_breaks_the_policy_is_undone(make_learner, unprobed, budget):
    learner = make_learner(replace(unprobed, actor_lr=1e30, actor_epochs=1, kl_budget=budget))
    before = learner.actor.adapter_state()
    figures = learner.update(TURNS)
    assert figures.actor.stopped_by_kl
    assert (figures.actor.steps, figures.actor.steps_kept) == (1, 0)
    assert figures.actor_skipped == "its first step spent the whole KL budget and was undone; lower actor_lr"
    assert moved(before, learner.actor.adapter_state()) == []


def test_after_a_blow_up_good_turns_are_learned_from_again(make_learner, unprobed):
    learner, spared = make_learner(unprobed), make_learner(unprobed)
    with pytest.raises(NonFiniteUpdateError, match="returns of episodes huge"):
        learner.update([*dialogue("huge", (3e38, 3e38)), *TURNS])
    learner.update(TURNS)
    spared.update(TURNS)
    assert moved(everything(spared), everything(learner)) == []

"""How far an update may move the policy, and what becomes of the step that went beyond."""

from dataclasses import replace

from tests.fixtures.transitions import dialogue


def good_and_bad():
    """Two dialogues, one rewarded."""
    return dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0))


def weights(learner):
    return {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_the_kl_budget_stops_the_passes_and_undoes_the_step_that_went_beyond(make_learner, config):
    bold = replace(config, actor_lr=3e-4, actor_epochs=20)
    free = make_learner(bold).update(good_and_bad()).actor
    learner = make_learner(replace(bold, kl_budget=0.02))
    held = learner.update(good_and_bad()).actor
    assert free is not None
    assert held is not None
    assert free.kl_to_start > 0.02
    assert not free.stopped_by_kl
    assert free.steps_kept == free.steps == 20
    assert held.stopped_by_kl
    assert 0 < held.kl_to_start <= 0.02
    assert 0 < held.steps_kept < held.steps < 20
    # The weights are those of the last step kept, not of the one undone.
    again = make_learner(replace(bold, actor_epochs=held.steps_kept))
    again.update(good_and_bad())
    assert difference(weights(learner), weights(again)) < 1e-6


def test_a_first_step_beyond_the_budget_leaves_the_actor_and_says_so(make_learner, config):
    learner = make_learner(replace(config, actor_lr=1.0, kl_budget=1e-4))
    before = weights(learner)
    assert "lower actor_lr" in (learner.update(good_and_bad()).actor_skipped or "")
    assert difference(before, weights(learner)) == 0

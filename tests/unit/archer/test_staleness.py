"""What older policies said: how much it counts, and how fast it lets the actor go."""

from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import dialogue


def good_and_bad(**changes):
    """Two dialogues, one rewarded."""
    return dialogue("a", (1.0,), **changes) + dialogue("b", (0.0,), **changes)


def adapter(learner):
    return {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.fixture
def after(make_learner, config):
    """The learner after one update with these settings, and its figures."""

    def update(turns, **changes):
        learner = make_learner(replace(config, probed_states=0, **changes))
        return learner, learner.update(turns)

    return update


def test_a_bad_turn_of_an_older_policy_counts_less(after):
    whole, figures = after(good_and_bad())
    none, unpushed = after(good_and_bad(), stale_negative_weight=0.0)
    assert not same(adapter(whole), adapter(none))
    # Two turns of advantage 1 and -1; without the bad one its share of the loss is gone.
    assert figures.actor_skipped is None
    assert unpushed.actor.loss != pytest.approx(figures.actor.loss)


def test_a_bad_turn_of_the_policy_itself_counts_whole(after):
    fresh = good_and_bad(on_policy=True)
    assert same(adapter(after(fresh)[0]), adapter(after(fresh, stale_negative_weight=0.0)[0]))


def test_a_good_turn_of_an_older_policy_counts_whole(after):
    # Bad ones are the policy's own, so nothing is left for the weight to change.
    turns = [*dialogue("a", (1.0,)), *dialogue("b", (0.0,), on_policy=True)]
    assert same(adapter(after(turns)[0]), adapter(after(turns, stale_negative_weight=0.0)[0]))


def test_the_actors_pace_is_the_share_of_turns_that_count(after):
    # Log-ratios ln 3, cut at 2, and ln ½: (2 + ½)² / (4 + ¼) of two turns.
    turns = with_ratios(after, 3.0, 0.5)
    learner, figures = after(turns, scale_lr_by_ess=True)
    share = 2.5**2 / 4.25 / 2
    assert learner.actor_optimiser.param_groups[0]["lr"] == pytest.approx(1e-4 * share, rel=1e-3)
    assert figures.actor.effective_sample_size == pytest.approx(2 * share, rel=1e-3)
    learner, _ = after(turns)
    assert learner.actor_optimiser.param_groups[0]["lr"] == 1e-4


def with_ratios(after, *ratios):
    """Turns that an older policy said so much less often than the one that starts."""
    learner, _ = after(good_and_bad(), warmup_updates=1)
    turns = []
    for turn, ratio in zip(good_and_bad(), ratios, strict=True):
        logits = learner.actor.model(input_ids=torch.tensor([turn.prompt_ids + turn.completion_ids])).logits[0]
        start = len(turn.prompt_ids) - 1
        logprobs = logits[start:-1].log_softmax(dim=-1)[torch.arange(2), torch.tensor(turn.completion_ids)]
        behaviour = (logprobs - torch.tensor(ratio).log()).tolist()
        turns.append(replace(turn, behaviour_logprobs=tuple(behaviour)))
    return turns


def test_a_pace_that_was_slowed_is_not_slowed_again(after, make_learner, config):
    turns = with_ratios(after, 3.0, 0.5)
    learner = make_learner(replace(config, probed_states=0, scale_lr_by_ess=True, actor_lr=1e-8))
    for _ in range(2):
        learner.update(turns)
    share = 2.5**2 / 4.25 / 2
    assert learner.actor_optimiser.param_groups[0]["lr"] == pytest.approx(1e-8 * share, rel=1e-2, abs=0)


def test_turns_of_the_policy_itself_let_it_go_at_full_pace(after):
    learner, figures = after(good_and_bad(on_policy=True), scale_lr_by_ess=True)
    assert learner.actor_optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert figures.actor.steps == 2

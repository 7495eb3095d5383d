"""An update with demonstrations: who imitates, who ranks, when nothing else is followed, and what may not change."""

import json
from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import corrected, demonstration, dialogue
from worker.archer.actor import ActorError

TURNS = [*dialogue("a", (0.0, 1.0)), *dialogue("b", (0.0, 0.0))]
ALIKE = [*dialogue("a", (0.0, 1.0)), *dialogue("b", (0.0, 1.0))]
SHOWN = [
    corrected(TURNS[0], "ask first", (30, 31, 32)),
    corrected(TURNS[3], "then answer", (33, 34)),
    demonstration(episode="b", utterance="hi", instead="hi"),  # a human agrees with what was said
]


@pytest.fixture
def quick(config):
    return replace(config, probed_states=0)


def adapter(learner):
    return {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def distance(one, other):
    return sum((one[name] - other[name]).square().sum().item() for name in one) ** 0.5


def test_demonstrations_become_likelier_and_the_critic_puts_them_above_what_was_said(make_learner, quick):
    learner = make_learner(replace(quick, actor_lr=1e-3, actor_epochs=4, critic_steps=60, critic_lr=1e-2))
    figures = learner.update(TURNS, SHOWN)
    found = figures.demonstrations
    assert (found.imitated, found.too_long, found.taught_critic, found.only_these) == (3, 0, 2, None)
    assert found.logprob > found.logprob_before + 0.2
    assert (found.ranked_above_before, found.ranked_above) == (0.0, 1.0)  # at first Q values all alike
    assert found.held_out_ranked_above is None
    assert figures.actor_skipped is None
    assert json.loads(json.dumps(figures.to_json())) == figures.to_json()
    assert learner.update(TURNS).demonstrations is None


@pytest.mark.parametrize("objective", ["reinforce", "clipped", "awr"])
def test_none_or_a_weight_of_zero_is_the_update_without_them_to_the_bit(make_learner, quick, objective):
    chosen = replace(quick, actor_objective=objective, actor_batch_turns=2, critic_batch_turns=2)
    plain, none, off = (make_learner(each) for each in (chosen, chosen, replace(chosen, demonstration_weight=0.0)))
    plain.update(TURNS)
    none.update(TURNS, ())
    assert off.update(TURNS, SHOWN).demonstrations is None
    for learner in (none, off):
        assert same(adapter(plain), adapter(learner))
        assert same(plain.critic.state(), learner.critic.state())
        assert torch.equal(plain.generator.get_state(), learner.generator.get_state())


@pytest.mark.parametrize("turns", [TURNS, ALIKE], ids=["beside what came", "alone"])
def test_neither_their_order_nor_how_passes_are_split_changes_anything(make_learner, quick, turns):
    learners = [make_learner(each) for each in (quick, quick, replace(quick, max_tokens_per_microbatch=16))]
    for learner, shown in zip(learners, (SHOWN, SHOWN[::-1], SHOWN), strict=True):
        # Rounding decides the sign of a tiny gradient, and Adam's first step is the sign.
        for network in (learner.actor.model, learner.critic.heads, learner.target.heads, learner.critic.reader.encoder):
            network.double()
        learner.update(turns, shown)
    first, *others = map(adapter, learners)
    assert max(distance(first, other) for other in others) < 1e-4


def test_they_move_actor_and_critic_beside_what_came(make_learner, quick):
    plain, shown = make_learner(quick), make_learner(quick)
    plain.update(TURNS)
    figures = shown.update(TURNS, SHOWN)
    assert not same(adapter(plain), adapter(shown))
    assert not same(plain.critic.state(), shown.critic.state())
    assert figures.actor.tokens_trained == 2 * (10 + 8)  # two passes over ten logged tokens and eight demonstrated


def test_each_is_seen_once_a_pass_in_as_many_steps_as_they_or_the_turns_ask_for(make_learner, quick):
    few = make_learner(replace(quick, actor_batch_turns=2)).update(TURNS, SHOWN[:1]).actor
    assert (few.steps, few.tokens_trained) == (2 * 2, 2 * (10 + 3))  # two steps of two turns a pass
    many = make_learner(replace(quick, actor_batch_turns=4)).update(TURNS, SHOWN * 3).actor
    assert (many.steps, many.tokens_trained) == (2 * 3, 2 * (10 + 24))  # nine demonstrations a pass, four a step


GATED = {"critic_gate": 1.0, "held_out_share": 0.4}
NAMED = [each for number in range(4) for each in dialogue(f"conversation {number}", (0.0, float(number)))]


@pytest.mark.parametrize(
    ("turns", "changes", "why"),
    [
        (ALIKE, {}, "rewarded alike"),
        (dialogue("a", (0.0, 1.0)), {}, "single episode"),
        (TURNS, {"warmup_updates": 1}, "warms up"),
        (NAMED, GATED, "cannot be trusted yet"),
        (TURNS, {"critic_steps": 1, "critic_lr": 1e-12}, "values all replies alike"),
        ([replace(each, trains_actor=False) for each in TURNS], {}, "no turn trains the actor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_nothing_else_may_be_followed_they_are_followed_alone(make_learner, quick, turns, changes, why):
    learner = make_learner(replace(quick, actor_lr=1e-3, kl_budget=5.0, **changes))
    before = adapter(learner)
    figures = learner.update(turns, SHOWN)
    assert figures.actor_skipped is None
    assert why in figures.demonstrations.only_these
    assert figures.demonstrations.logprob > figures.demonstrations.logprob_before
    assert not same(before, adapter(learner))
    assert (figures.actor.steps, figures.actor.tokens_trained) == (2, 2 * 8)
    assert figures.actor.kl_to_start > 0  # of replies that were logged, or said for it


def test_alone_they_move_the_actor_by_nothing_of_the_rewards(make_learner, quick):
    one, other = make_learner(replace(quick, warmup_updates=1)), make_learner(replace(quick, warmup_updates=1))
    one.update(TURNS, SHOWN)
    other.update([replace(each, reward=-each.reward) for each in TURNS], SHOWN)
    assert same(adapter(one), adapter(other))


@pytest.mark.parametrize("turns", [TURNS, ALIKE], ids=["beside what came", "alone"])
def test_a_first_step_beyond_the_kl_budget_is_undone_and_says_so(make_learner, quick, turns):
    learner = make_learner(replace(quick, actor_lr=1.0, kl_budget=1e-4))
    before = adapter(learner)
    figures = learner.update(turns, SHOWN)
    assert "lower actor_lr" in figures.actor_skipped
    assert figures.demonstrations.logprob == pytest.approx(figures.demonstrations.logprob_before, rel=1e-6)
    assert same(before, adapter(learner))


def test_alone_the_steps_stay_within_the_budget_on_logged_turns(make_learner, quick):
    bold = replace(quick, actor_epochs=20, kl_check_share=1.0)
    free = make_learner(bold).update(ALIKE, SHOWN).actor
    learner = make_learner(replace(bold, kl_budget=free.kl_to_start / 3))
    held = learner.update(ALIKE, SHOWN).actor
    assert held.stopped_by_kl
    assert 0 < held.kl_to_start <= free.kl_to_start / 3
    again = make_learner(replace(bold, actor_epochs=held.steps_kept))
    again.update(ALIKE, SHOWN)
    assert distance(adapter(learner), adapter(again)) < 1e-5


def test_replies_beyond_the_bound_are_left_out_and_counted(make_learner, quick):
    chosen = replace(quick, max_completion_tokens=3)
    long = demonstration(completion_ids=(30, 31, 32, 33))
    shorter, both = make_learner(chosen), make_learner(chosen)
    shorter.update(TURNS[:1] + TURNS[2:3], SHOWN)
    found = both.update(TURNS[:1] + TURNS[2:3], [*SHOWN, long]).demonstrations
    assert (found.imitated, found.too_long) == (3, 1)
    assert same(adapter(shorter), adapter(both))
    assert same(shorter.critic.state(), both.critic.state())
    none = both.update(TURNS[:1] + TURNS[2:3], [long]).demonstrations
    assert (none.imitated, none.too_long, none.logprob, none.ranked_above) == (0, 1, None, None)


@pytest.mark.parametrize("field", ["prompt_ids", "completion_ids", "instead_ids"])
def test_a_demonstration_in_another_models_tokens_is_refused(make_learner, quick, field):
    with pytest.raises(ActorError, match="outside the model's"):
        make_learner(quick).update(TURNS, [demonstration(**{field: (10**6,)})])


def test_a_leap_takes_them_along_and_is_not_used_up_where_they_are_alone(make_learner, quick):
    leaping = replace(quick, leap_epochs=2, candidates=4, warmup_updates=1)
    learner = make_learner(leaping)
    first = learner.update(TURNS, SHOWN)
    assert (first.actor_leapt, first.actor_skipped, learner.has_leapt) == (False, None, False)
    second = learner.update(TURNS, SHOWN)
    assert second.actor_leapt
    assert second.demonstrations.only_these is None
    assert second.demonstrations.logprob > second.demonstrations.logprob_before


@torch.no_grad()
def chance(learner, shown):
    """Of the demonstrated reply, whole."""
    total = 0.0
    for place, token in enumerate(shown.completion_ids):
        ids = torch.tensor([shown.prompt_ids + shown.completion_ids[:place]])
        total += torch.log_softmax(learner.actor.model(input_ids=ids).logits[0, -1], dim=-1)[token]
    return float(total.exp())


@pytest.mark.parametrize(
    "reader", [{}, {"critic_reader": "policy", "critic_encoding": "joint"}], ids=["text", "tokens"]
)
def test_after_a_few_updates_the_policy_says_what_was_demonstrated_and_q_ranks_it_above(make_learner, quick, reader):
    """Though what was said instead is what paid: both at once, as far as the rewards let it."""
    learner = make_learner(replace(quick, actor_lr=3e-3, critic_steps=40, critic_lr=1e-2, critic_hidden=32, **reader))
    shown = [corrected(TURNS[0], "ask first", (30, 31, 32)), corrected(TURNS[2], "ask first", (30, 31, 32))]
    before = chance(learner, shown[0])
    for _ in range(6):
        figures = learner.update(TURNS, shown)
    assert before < 1e-4
    assert chance(learner, shown[0]) > 0.3
    assert figures.demonstrations.ranked_above == 1.0

"""A whole update: who learns what from which turns, and what may not change it."""

import json
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor_training import ActorTraining
from worker.archer.rows import build_rows, build_table
from worker.archer.spoken import start_logprobs


def good_and_bad(**changes):
    """Two dialogues, one rewarded."""
    return dialogue("a", (0.0, 1.0), **changes) + dialogue("b", (0.0, 0.0), **changes)


def weights(learner):
    return {name: weight.clone() for name, weight in learner.actor.adapter_state().items()}


def difference(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def distance(one, other):
    """Of whole adapters: Adam's first steps turn the rounding of a gradient near zero into a full step."""
    return sum((one[name] - other[name]).square().sum().item() for name in one) ** 0.5


def test_an_update_moves_actor_and_critic_and_says_how(make_learner, config):
    learner = make_learner(config)
    actor, critic = weights(learner), [weight.clone() for weight in learner.critic.heads.parameters()]
    seen = []
    figures = learner.update(good_and_bad(), on_progress=seen.append)
    assert difference(actor, weights(learner)) > 0
    assert any(not torch.equal(old, new) for old, new in zip(critic, learner.critic.heads.parameters(), strict=True))
    assert (figures.turns, figures.actor_turns, figures.episodes, figures.rows) == (4, 4, 2, 2)
    assert figures.actor_skipped is None
    assert figures.actor is not None
    assert figures.actor.tokens_trained == 2 * 10  # two passes over 2 + 3 + 2 + 3 tokens
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert json.loads(json.dumps(figures.to_json())) == figures.to_json()


def test_the_encoder_and_the_base_model_stay_as_they_were(make_learner, config):
    learner = make_learner(config)
    frozen = {name: p.clone() for name, p in learner.actor.model.named_parameters() if not p.requires_grad}
    encoder = learner.critic.reader.encoder
    before = [weight.clone() for weight in encoder.parameters()]
    learner.update(good_and_bad())
    for name, parameter in learner.actor.model.named_parameters():
        assert name not in frozen or torch.equal(frozen[name], parameter)
    assert all(torch.equal(old, new) for old, new in zip(before, encoder.parameters(), strict=True))


def test_a_rewarded_reply_becomes_likelier_and_the_other_less_likely(make_learner, config):
    learner = make_learner(replace(config, actor_lr=1e-3, actor_epochs=8, critic_steps=60))
    turns = good_and_bad()
    before = start_of(learner, turns)
    learner.update(turns)
    moved = start_of(learner, turns) - before
    assert moved[:5].mean() > 0 > moved[5:].mean()  # five tokens of each dialogue


def start_of(learner, turns):
    rows, table = build_rows(turns, 100), build_table(turns, torch.device("cpu"))
    return start_logprobs(learner.actor, rows, table, turns, learner.config)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (dialogue("a", (0.0, 1.0)), "single episode"),
        (dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 1.0)), "rewarded alike"),
        (dialogue("a", (0.0, 0.0)) + dialogue("b", (0.0, 0.0)), "rewarded alike"),
        (good_and_bad(trains_actor=False), "no turn trains the actor"),
    ],
)
def test_where_nothing_can_be_learned_the_actor_stays_and_the_figures_say_why(make_learner, config, turns, reason):
    learner = make_learner(config)
    actor = weights(learner)
    figures = learner.update(turns)
    assert reason in (figures.actor_skipped or "")
    assert figures.actor is None
    assert figures.tokens_per_second == 0.0
    assert figures.critic.steps == config.critic_steps  # the critic learns from them all the same
    assert difference(actor, weights(learner)) == 0


def test_a_critic_that_values_all_replies_alike_instructs_nobody(make_learner, config):
    learner = make_learner(replace(config, critic_steps=1, critic_lr=1e-12))
    actor = weights(learner)
    assert learner.update(good_and_bad()).actor_skipped == "the critic values all replies alike"
    assert difference(actor, weights(learner)) == 0


@pytest.mark.parametrize("changes", [{"max_tokens_per_microbatch": 16}, {"actor_batch_turns": 4}])
def test_how_the_turns_are_split_into_passes_changes_nothing(make_learner, config, changes):
    turns = good_and_bad()
    whole, split = make_learner(config), make_learner(replace(config, **changes))
    for learner in (whole, split):
        # Rounding decides the sign of a tiny gradient, and Adam's first step is the sign.
        for network in (learner.actor.model, learner.critic.heads, learner.target.heads, learner.critic.reader.encoder):
            network.double()
    whole.update(turns)
    split.update(turns)
    assert difference(weights(whole), weights(split)) < 1e-5


def test_the_order_of_the_episodes_changes_nothing(make_learner, config):
    # The critic's batches hold all turns, so its steps see one set whatever its order.
    turns = good_and_bad()
    one, other = make_learner(config), make_learner(config)
    start = weights(one)
    one.update(turns)
    other.update(turns[2:] + turns[:2])
    assert distance(weights(one), weights(other)) < 0.02 * distance(start, weights(one))


def test_a_longer_neighbour_that_teaches_the_actor_nothing_does_not_change_it(make_learner, config, encoder_folder):
    turns = good_and_bad()
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0])
    gradients = []
    for neighbours in ([], [turn(episode="long", prompt_ids=tuple(range(60)))]):
        learner = make_learner(config)
        every = turns + neighbours
        given = torch.cat([advantage, torch.zeros(len(neighbours))])
        gradients.append(actor_gradient(learner, every, given, count=4))
    assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def actor_gradient(learner, turns, advantage, count):
    rows, table = build_rows(turns, 100), build_table(turns, torch.device("cpu"))
    of_token = advantage[table.turn]
    training = ActorTraining(
        learner.actor, learner.actor_optimiser, table, table.behaviour_logprobs, of_token, learner.config
    )
    for loss in training.losses(rows, count):
        loss.backward()
    return torch.cat([weight.grad.flatten() for weight in learner.actor.parameters()])


def test_the_actors_gradient_is_that_of_a_slow_loop_over_single_tokens(make_learner, config, adapter_folder):
    turns = good_and_bad(temperature=0.8)
    advantage = torch.tensor([0.5, -1.0, 2.0, 0.25])
    learner = make_learner(config, adapter=adapter_folder)
    fast = actor_gradient(learner, turns, advantage, count=4)
    learner.actor_optimiser.zero_grad()
    for each, worth in zip(turns, advantage, strict=True):
        for offset, token in enumerate(each.completion_ids):
            ids = torch.tensor([each.prompt_ids + each.completion_ids[:offset]])
            logits = learner.actor.model(input_ids=ids).logits[0, -1] / each.temperature
            logprob = torch.log_softmax(logits, dim=-1)[token]
            ratio = min(
                float(torch.exp(logprob.detach() - each.behaviour_logprobs[offset])), config.max_importance_ratio
            )
            (-worth * ratio * logprob / 4).backward()
    slow = torch.cat([weight.grad.flatten() for weight in learner.actor.parameters()])
    assert fast.abs().max() > 1e-3
    assert_close(fast, slow, rtol=1e-3, atol=1e-5)


def test_logged_log_probs_of_the_start_policy_are_used_and_of_older_ones_computed(make_learner, config):
    learner = make_learner(config)
    fresh, older = good_and_bad(on_policy=True), good_and_bad(on_policy=False)
    assert start_of(learner, fresh)[:2].tolist() == pytest.approx([-5.0, -5.1])
    computed = start_of(learner, older)
    assert not torch.allclose(computed, start_of(learner, fresh), atol=0.1)
    # What was computed is what the model says: logged as such, the ratio is one everywhere.
    logged, place = [], 0
    for each in older:
        end = place + len(each.completion_ids)
        logged.append(replace(each, behaviour_logprobs=tuple(computed[place:end].tolist())))
        place = end
    figures = learner.update(logged)
    assert figures.actor is not None
    assert figures.actor.importance_ratio_mean == pytest.approx(1.0, abs=1e-4)
    assert figures.actor.kl_at_start == pytest.approx(0.0, abs=1e-6)
    assert figures.actor.effective_sample_size == pytest.approx(4.0, abs=1e-3)


def test_a_long_prompt_is_cut_and_counted(make_learner, config):
    learner = make_learner(replace(config, max_prompt_tokens=4))
    figures = learner.update(good_and_bad())
    assert figures.prompts_cut == 2  # the second turns' prompts have seven tokens
    assert figures.rows == 4


def test_the_critic_learns_a_batch_by_heart(make_learner, config):
    learner = make_learner(replace(config, critic_steps=300, critic_hidden=32))
    turns = [
        each
        for name, reward in zip("abcdef", (1.0, 0.0, 0.5, -1.0, 0.2, 0.8), strict=True)
        for each in dialogue(name, (reward,))
    ]
    figures = learner.update(turns)
    assert figures.critic.explained_variance_before == pytest.approx(0.0, abs=1e-6)
    assert figures.critic.explained_variance is not None
    assert figures.critic.explained_variance > 0.95


def test_a_trained_encoder_learns_and_its_splits_change_nothing(make_learner, config):
    trained = replace(config, train_reader=True, reader_lr=1e-3)
    learner, split = make_learner(trained), make_learner(replace(trained, max_tokens_per_microbatch=64))
    for each in (learner, split):
        for part in (each.critic, each.target):
            part.heads.double()
            part.reader.encoder.double()
    start = learner.critic.state()
    learner.update(good_and_bad())
    split.update(good_and_bad())
    moved = [name for name, weight in learner.critic.trained().items() if not torch.equal(start[name], weight)]
    assert any(name.startswith("reader.") for name in moved)
    for name, weight in learner.critic.trained().items():
        assert_close(weight, split.critic.trained()[name], rtol=1e-6, atol=1e-8)


def test_the_same_seed_gives_the_same_adapter_and_rewards_in_another_unit_nearly_too(make_learner, config):
    one, again, hundredfold = make_learner(config), make_learner(config), make_learner(config)
    start = weights(one)
    one.update(good_and_bad())
    again.update(good_and_bad())
    hundredfold.update([replace(each, reward=100 * each.reward) for each in good_and_bad()])
    assert difference(weights(one), weights(again)) == 0
    assert distance(weights(one), weights(hundredfold)) < 0.02 * distance(start, weights(one))


def test_weights_move_the_actor_and_leave_the_critic_and_the_advantages_as_they_were(make_learner, config):
    def loss(of_a, of_b):
        """The actor's before its first step: w_a J_a + w_b J_b, if the advantages ignore the weights."""
        learner = make_learner(replace(config, actor_epochs=1))
        given = [replace(each, weight=of_a if each.episode == "a" else of_b) for each in good_and_bad()]
        return learner.update(given).actor.loss, learner

    (plain, unweighted), (doubled, _), (mixed, weighted) = loss(1.0, 1.0), loss(2.0, 1.0), loss(4.0, 0.5)
    good = doubled - plain
    assert mixed == pytest.approx(4 * good + 0.5 * (plain - good), rel=1e-4)
    assert all(torch.equal(unweighted.critic.state()[name], w) for name, w in weighted.critic.state().items())
    assert difference(weights(unweighted), weights(weighted)) > 0


def test_a_seeded_update_is_the_one_that_was_written_down(make_learner, config):
    """A change of these numbers is a change of the algorithm: justify it in the commit that makes it."""
    learner = make_learner(config)
    figures = learner.update(good_and_bad())
    assert figures.actor is not None
    moved = sum(weight.abs().sum().item() for name, weight in learner.actor.adapter_state().items() if "lora_B" in name)
    found = (figures.critic.loss, figures.critic.advantage_sd, figures.actor.loss, figures.actor.kl_to_start, moved)
    assert found == pytest.approx(SNAPSHOT, rel=1e-3)


SNAPSHOT = (1.0179466009, 0.0100274030, -1.3812344670, 0.0022491086, 3.2531866)

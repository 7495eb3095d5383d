"""Updates at the ends of what may come: nothing, one turn, two hundred, a hundred thousand tokens, no log-probs."""

from dataclasses import replace

import pytest
import torch

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor import ActorError
from worker.archer.types import TransitionError

POLICY = {"critic_reader": "policy", "critic_encoding": "joint", "train_reader": True, "trace": "length_normalised"}


@pytest.fixture(params=[POLICY, {}], ids=["policy", "encoder"])
def settings(request, config):
    return replace(config, critic_steps=2, actor_epochs=1, **request.param)


def weights(learner):
    everything = learner.actor.adapter_state() | learner.critic.state()
    return {name: weight.clone() for name, weight in everything.items()}


def same(one, other):
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def conversation(name, turns, reward, *, reply=2, heard=1):
    """Short turns, so that many fit; only the last one earns."""
    said, prompt = [], (1, 2, 3)
    for place in range(turns):
        completion = tuple(10 + (place + step) % 40 for step in range(reply))
        following = (*prompt, *completion, *(7,) * heard)
        said.append(
            turn(
                episode=name,
                observation=f"{place} before",
                utterance=f"{name} {place}",
                next_observation=f"{place + 1} before",
                reward=reward if place + 1 == turns else 0.0,
                terminal=place + 1 == turns,
                prompt_ids=prompt,
                completion_ids=completion,
                behaviour_logprobs=(-5.0,) * reply,
                next_prompt_ids=following,
            )
        )
        prompt = following
    return said


class Watch:
    """The lengths of the rows that go through the policy's model."""

    def __init__(self, learner):
        self.lengths = []
        learner.actor.model.get_input_embeddings().register_forward_pre_hook(
            lambda module, inputs: self.lengths.append(inputs[0].shape[1])
        )


def test_no_turns_are_refused_and_move_nothing(make_learner, settings):
    learner = make_learner(settings)
    before = weights(learner)
    with pytest.raises(TransitionError, match="nothing to learn from"):
        learner.update([])
    assert same(before, weights(learner))


def test_a_single_turn_trains_the_critic_and_has_nothing_to_be_compared_with(make_learner, settings):
    learner = make_learner(settings)
    actor = learner.actor.adapter_state()
    figures = learner.update([turn(reward=1.0)])
    assert (figures.turns, figures.episodes, figures.rows) == (1, 1, 1)
    assert figures.critic.steps == 2
    assert figures.actor_skipped == "a single episode has nothing to be compared with"
    assert same(actor, learner.actor.adapter_state())


def test_one_turn_dialogues_are_learned_from(make_learner, settings):
    learner = make_learner(replace(settings, critic_steps=5))
    figures = learner.update(dialogue("a", (1.0,)) + dialogue("b", (0.0,)))
    assert figures.actor_skipped is None
    assert figures.critic.mean_trace_length == 0.0


def test_the_end_of_two_hundred_turns_is_heard_at_its_beginning(make_learner, settings):
    chosen = replace(settings, trace="full_product", lam=1.0, gamma=1.0, max_tokens_per_microbatch=4096)
    learner = make_learner(chosen)
    turns = conversation("long", 200, 1.0) + conversation("short", 2, 0.0)
    turns = [replace(each, on_policy=True) for each in turns]
    figures = learner.update(turns)
    assert figures.turns == 202
    assert figures.rows == 2
    # On policy nothing is cut: 199 + 198 + ... + 0 further turns in the one, 1 + 0 in the other.
    assert figures.critic.mean_trace_length == pytest.approx((199 * 200 / 2 + 1) / 202)
    assert figures.actor_skipped is None


def test_a_hundred_thousand_tokens_take_no_more_memory_than_the_bounds_say(make_learner, settings):
    bounded = replace(settings, max_prompt_tokens=100, max_completion_tokens=30, max_tokens_per_microbatch=256)
    learner = make_learner(bounded)
    watch = Watch(learner)
    # Each turn hears 20,000 tokens more; the last reply is longer than what trains the actor.
    turns = conversation("endless", 5, 1.0, reply=10, heard=20_000)
    turns[-1] = replace(turns[-1], completion_ids=(9,) * 50, behaviour_logprobs=(-1.0,) * 50)
    turns += conversation("brief", 2, 0.0)
    texts = [replace(each, observation="word " * 5000) for each in turns]
    assert len(turns[4].prompt_ids) > 80_000
    figures = learner.update(texts)
    assert max(watch.lengths) <= 130
    assert figures.prompts_cut == 3
    assert figures.replies_too_long == 1
    assert figures.actor_turns == 6
    assert figures.texts_cut > 0
    assert figures.actor_skipped is None


def test_turns_without_log_probs_teach_the_critic_alone_and_are_counted(make_learner, settings):
    learner = make_learner(settings)
    unknown = [replace(each, trains_actor=False, behaviour_logprobs=()) for each in dialogue("c", (0.0, 5.0))]
    figures = learner.update([*dialogue("a", (1.0,)), *dialogue("b", (0.0,)), *unknown])
    assert (figures.turns, figures.actor_turns, figures.episodes, figures.rows) == (4, 2, 3, 2)
    assert figures.actor.tokens_trained == 4
    assert figures.critic.mean_trace_length == 0.0  # nobody knows whether the policy would have said them
    assert figures.actor_skipped is None


def test_turns_without_tokens_teach_the_critic_alone(make_learner, settings):
    silent = turn(episode="c", trains_actor=False, completion_ids=(), behaviour_logprobs=(), temperature=0.0)
    figures = make_learner(settings).update([*dialogue("a", (1.0,)), *dialogue("b", (0.0,)), silent])
    assert (figures.turns, figures.actor_turns) == (3, 2)
    assert figures.actor_skipped is None


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_equal_outcomes_leave_the_actor_and_say_so(make_learner, settings, value):
    learner = make_learner(settings)
    actor = learner.actor.adapter_state()
    figures = learner.update(dialogue("a", (0.0, value)) + dialogue("b", (0.0, value)))
    assert figures.actor_skipped == "all episodes were rewarded alike"
    assert same(actor, learner.actor.adapter_state())


def test_tokens_of_another_model_are_refused_wherever_they_stand(make_learner, settings):
    learner = make_learner(settings)
    before = weights(learner)
    strange = (1, 10**6)
    for changes in ({"prompt_ids": strange}, {"completion_ids": strange}, {"next_prompt_ids": strange}):
        with pytest.raises(ActorError, match="another model"):
            learner.update([*dialogue("a", (1.0,)), turn(episode="b", terminal=False, next_observation="x", **changes)])
    assert same(before, weights(learner))


@pytest.mark.parametrize("objective", ["reinforce", "clipped", "awr", "imitation"])
def test_what_is_said_anew_may_be_learned_from_by_every_objective(make_learner, settings, objective):
    chosen = replace(settings, actor_objective=objective, actor_utterances="fresh", value="sampled", trace="none")
    learner = make_learner(replace(chosen, actor_batch_turns=4, critic_steps=5, candidates=32, probed_states=0))
    before = learner.actor.adapter_state()
    figures = learner.update(dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0)))
    assert figures.actor_skipped is None
    assert figures.actor.importance_ratio_mean == pytest.approx(1.0, abs=1e-3)
    assert not same(before, learner.actor.adapter_state())


def test_where_no_reply_is_better_than_expected_none_is_imitated(make_learner, settings):
    chosen = replace(settings, actor_objective="imitation", actor_utterances="fresh", critic_lr=1e-12, reader_lr=1e-12)
    learner = make_learner(replace(chosen, actor_batch_turns=4))
    before = learner.actor.adapter_state()
    figures = learner.update(dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0)))
    assert figures.actor_skipped == "no reply that was sampled is better than the critic expected"
    assert same(before, learner.actor.adapter_state())


def test_a_single_chosen_reply_is_imitated(make_learner, settings):
    chosen = replace(settings, actor_objective="imitation", actor_utterances="fresh", candidates=32)
    learner = make_learner(replace(chosen, actor_batch_turns=1, critic_steps=10))
    turns = dialogue("a", (0.0, 1.0)) + dialogue("b", (0.0, 0.0))
    figures = learner.update([replace(one, trains_actor=place == 1) for place, one in enumerate(turns)])
    assert figures.actor_skipped is None
    assert figures.actor.steps == 1

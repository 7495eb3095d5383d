"""It learns: the best replies of a two-turn dialogue, from nothing but the score at its end."""

from dataclasses import replace

import torch

from tests.fixtures.transitions import turn

WORDS = ("no", "yes", "perhaps", "never")
"""What a token means to the user: its id modulo four. So a model that knows nothing says each about as often."""
PROMPT = (1, 2, 3)


@torch.no_grad()
def reply(actor, prompts, generator):
    """One token a prompt, sampled at temperature 1, with its log-prob."""
    logits = actor.model(input_ids=torch.tensor(prompts)).logits[:, -1]
    logprobs = torch.log_softmax(logits, dim=-1)
    tokens = torch.multinomial(logprobs.exp(), 1, generator=generator)[:, 0]
    return tokens.tolist(), logprobs[torch.arange(len(prompts)), tokens].tolist()


def converse(learner, generator, count, best):
    """Two turns each; each best reply earns half a point, all of it paid after the second turn."""
    first, first_logprobs = reply(learner.actor, [PROMPT] * count, generator)
    longer = [(*PROMPT, token, 7, 8) for token in first]
    second, second_logprobs = reply(learner.actor, longer, generator)
    turns, scores = [], []
    for each in range(count):
        said = [WORDS[token % 4] for token in (first[each], second[each])]
        score = sum(word == best for word, best in zip(said, best, strict=True)) / 2
        opening = turn(
            episode=str(each),
            observation="hello",
            utterance=said[0],
            next_observation="and now",
            terminal=False,
            prompt_ids=PROMPT,
            completion_ids=(first[each],),
            behaviour_logprobs=(first_logprobs[each],),
            on_policy=True,
        )
        closing = replace(
            opening,
            observation="and now",
            utterance=said[1],
            next_observation=None,
            terminal=True,
            reward=score,
            prompt_ids=longer[each],
            completion_ids=(second[each],),
            behaviour_logprobs=(second_logprobs[each],),
        )
        turns += [opening, closing]
        scores.append(score)
    return turns, sum(scores) / count


def curve_of(learner, updates, count, best):
    """The mean score before each update; 1 is the optimum."""
    generator = torch.Generator().manual_seed(0)
    curve = []
    for _ in range(updates):
        turns, score = converse(learner, generator, count, best)
        curve.append(score)
        learner.update(turns)
    return curve


def test_the_best_replies_of_a_two_turn_dialogue_are_learned(make_learner, config):
    brisk = replace(config, gamma=0.9, critic_steps=20, critic_lr=3e-3, critic_hidden=32, actor_lr=1e-3)
    curve = curve_of(make_learner(replace(brisk, probed_states=0)), updates=24, count=48, best=("yes", "yes"))
    assert curve[0] < 0.4
    assert sum(curve[-3:]) / 3 > 0.8, curve


def test_replies_that_must_differ_from_turn_to_turn_are_learned_to_the_optimum(make_learner, config):
    """By a critic over the policy's own tokens, traces and the clipped objective."""
    chosen = replace(
        config,
        critic_reader="policy",
        critic_encoding="joint",
        train_reader=True,
        reader_lr=1e-3,
        trace="length_normalised",
        critic_hidden=64,
        critic_lr=3e-3,
        critic_steps=5,
        critic_batch_turns=128,
        probed_states=0,
        actor_objective="clipped",
        actor_lr=2e-3,
        max_tokens_per_microbatch=4096,
    )
    curve = curve_of(make_learner(chosen), updates=18, count=64, best=("yes", "never"))
    assert curve[0] < 0.4
    assert sum(curve[-3:]) / 3 > 0.95, curve

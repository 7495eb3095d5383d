"""Fresh utterances are the policy's own: its log-probs, its end, each turn's temperature, in the states' order."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor import Actor, ActorError
from worker.archer.fresh import STATES_AT_ONCE, say_anew
from worker.archer.rows import build_rows, build_table, collate

STATES = [
    *dialogue("a", (0.0, 1.0, 0.5)),
    turn(episode="b", temperature=0.5, prompt_ids=(9, 8, 7, 6, 5, 4, 3, 2)),
    turn(episode="c", temperature=2.0),
]


@pytest.fixture
def actor(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder)


def said_by(actor, states, config, *, each=1, seed=0, decode=None):
    return say_anew(actor, states, config, torch.Generator().manual_seed(seed), decode, each=each)


@pytest.fixture
def brief(config):
    return replace(config, max_new_tokens=5)


@torch.no_grad()
def logprobs_of(actor, turns, longest_prompt=1000):
    """log π of each token of the turns by a plain forward pass over whole rows."""
    table = build_table(turns, torch.device("cpu"))
    batch = collate(build_rows(turns, longest_prompt), torch.device("cpu"))
    found = torch.zeros(len(table.turn))
    found[batch.table] = actor.logprobs(batch, table.temperature[batch.table])
    return found, table.behaviour_logprobs


def test_the_log_probs_are_the_policys_at_each_turns_temperature(actor, brief):
    said = said_by(actor, STATES, brief, each=3)
    found, noted = logprobs_of(actor, said)
    assert_close(found, noted, rtol=1e-4, atol=1e-4)
    assert [each.temperature for each in said[::3]] == [1.0, 1.0, 1.0, 0.5, 2.0]


def test_they_answer_the_states_given_in_their_order(actor, brief):
    said = said_by(actor, STATES, brief, each=2)
    assert len(said) == 10
    for place, each in enumerate(said):
        state = STATES[place // 2]
        assert each.prompt_ids == state.prompt_ids
        assert each.observation == state.observation
    assert said[0].completion_ids != said[1].completion_ids


def test_they_are_one_turn_episodes_on_policy_without_reward_or_end_to_bootstrap_from(actor, brief):
    said = said_by(actor, [replace(STATES[0], trains_actor=False, on_policy=False), *STATES[1:]], brief, each=2)
    assert len({each.episode for each in said}) == len(said)
    for each in said:
        assert each.trains_actor
        assert each.on_policy
        assert each.terminal
        assert each.reward == 0.0
        assert each.next_observation is None
        assert each.next_prompt_ids is None


def test_the_end_token_is_part_of_what_is_said(actor, brief):
    actor.model.get_base_model().generation_config.eos_token_id = list(range(0, 264, 2))
    said = said_by(actor, STATES, brief, each=8)
    ended = [each for each in said if len(each.completion_ids) < 5]
    assert len(ended) > 20
    for each in said:
        assert all(token % 2 for token in each.completion_ids[:-1])
        assert each.completion_ids[-1] % 2 == 0 or len(each.completion_ids) == 5
    found, noted = logprobs_of(actor, said)
    assert_close(found, noted, rtol=1e-4, atol=1e-4)


def test_a_model_without_an_end_token_is_refused(actor, brief):
    actor.model.get_base_model().generation_config.eos_token_id = None
    with pytest.raises(ActorError, match="names no end token"):
        said_by(actor, STATES, brief)


def test_a_low_temperature_says_the_likeliest_reply(actor, brief):
    cold = [replace(STATES[0], temperature=0.01)]
    said = said_by(actor, cold, brief, each=5)
    assert len({each.completion_ids for each in said}) == 1
    with torch.no_grad():
        ids = list(STATES[0].prompt_ids)
        for token in said[0].completion_ids:
            assert actor.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax() == token
            ids.append(token)


def test_where_the_likeliest_reply_was_asked_for_it_is_said_and_trains_nobody(actor, brief):
    greedy = replace(STATES[0], temperature=0.0, trains_actor=False)
    (said,) = said_by(actor, [greedy], brief)
    (cold,) = said_by(actor, [replace(STATES[0], temperature=0.001)], brief)
    assert said.completion_ids == cold.completion_ids
    assert not said.trains_actor
    assert_close(torch.tensor(said.behaviour_logprobs), torch.zeros(5))


def test_a_long_prompt_is_cut_as_it_is_for_the_actor(actor, brief):
    cut = replace(brief, max_prompt_tokens=4)
    said = said_by(actor, [turn(prompt_ids=tuple(range(1, 40)))], cut)
    found, noted = logprobs_of(actor, said, longest_prompt=4)
    assert_close(found, noted, rtol=1e-4, atol=1e-4)


def test_more_states_than_go_together_are_all_answered(actor, config):
    brief = replace(config, max_new_tokens=1)
    states = [turn(episode=str(number), prompt_ids=(1 + number % 7, 2)) for number in range(STATES_AT_ONCE + 6)]
    said = said_by(actor, states, brief)
    assert [each.prompt_ids for each in said] == [each.prompt_ids for each in states]
    found, noted = logprobs_of(actor, said)
    assert_close(found, noted, rtol=1e-4, atol=1e-4)


def test_the_words_are_the_decoders(actor, brief):
    said = said_by(actor, STATES, brief, decode=lambda ids: "-".join(map(str, ids)))
    assert all(each.utterance == "-".join(map(str, each.completion_ids)) for each in said)


def test_the_generator_decides_what_is_said(actor, brief):
    one, again, other = (said_by(actor, STATES, brief, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_nothing_is_said(actor, brief):
    assert said_by(actor, [], brief) == []

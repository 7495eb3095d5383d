"""Features of tokens are those of each turn read on its own, whatever shares its row, its pass or its end."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor import Actor
from worker.archer.token_reader import TokenReader
from worker.archer.types import TransitionError

TURNS = [*dialogue("a", (0.0, 0.0, 1.0)), *dialogue("b", (0.0, 1.0), terminal=False), *dialogue("c", (1.0,))]
EVERY = range(6)


@pytest.fixture
def reader_of(model_folder, adapter_folder, config):
    def build(user_prompt=(), **changes):
        changed = replace(config, critic_reader="policy", critic_encoding="joint", train_reader=True)
        changed = replace(changed, **changes)
        model = Actor.from_pretrained(model_folder, changed, adapter=adapter_folder).model
        reader = TokenReader(model, changed, user_prompt=user_prompt)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in reader.trained().values():
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
        return reader

    return build


def read(reader, turns, chosen=None, *, following=True):
    chosen = range(len(turns)) if chosen is None else chosen
    with reader.active(), torch.no_grad():
        return reader.read(reader.index(turns), chosen, following=following)


def end_of(reader, ids):
    """The last hidden state of one sequence, alone in its pass."""
    with reader.active(), torch.no_grad():
        out = reader.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return out.hidden_states[-1][0, -1]


def features_alone(reader, turn, *, longest_prompt=10**6, longest_reply=10**6):
    """Observation and action as the definition has them."""
    prompt, reply = turn.prompt_ids[-longest_prompt:], turn.completion_ids[:longest_reply]
    observation = end_of(reader, prompt)
    if reader.is_joint:
        return observation, end_of(reader, prompt + reply)
    return observation, torch.cat([observation, end_of(reader, reply)])


@pytest.mark.parametrize("encoding", ["joint", "split"])
@pytest.mark.parametrize("trained", [True, False])
def test_each_turn_has_the_features_of_its_own_tokens_alone(reader_of, encoding, trained):
    reader = reader_of(critic_encoding=encoding, train_reader=trained)
    assert len(reader.index(TURNS).rows) == 3  # three episodes
    found = read(reader, TURNS)
    for place, each in enumerate(TURNS):
        observation, action = features_alone(reader, each)
        assert_close(found.observation[place], observation, rtol=1e-4, atol=1e-4)
        assert_close(found.action[place], action, rtol=1e-4, atol=1e-4)
    assert found.action.shape == (6, reader.action_width)
    assert (found.observation[0] - found.observation[1]).abs().max() > 0.1


@pytest.mark.parametrize("encoding", ["joint", "split"])
def test_a_reply_is_read_where_the_users_next_words_would_begin(reader_of, encoding):
    reader = reader_of(user_prompt=(7, 3, 5), critic_encoding=encoding)
    ended = replace(TURNS[5], completion_ids=(4, 7), behaviour_logprobs=(-1.0, -1.0))
    found = read(reader, [*TURNS[:3], ended])
    for place, (each, rest) in enumerate([*((each, (7, 3, 5)) for each in TURNS[:3]), (ended, (3, 5))]):
        told = each.completion_ids + rest
        observation, action = end_of(reader, each.prompt_ids), end_of(reader, each.prompt_ids + told)
        if encoding == "split":
            action = torch.cat([observation, end_of(reader, told)])
        assert_close(found.observation[place], observation, rtol=1e-4, atol=1e-4)
        assert_close(found.action[place], action, rtol=1e-4, atol=1e-4)


def test_turns_share_a_row_as_before_where_the_next_prompt_goes_on_with_the_users_words(reader_of):
    first = turn(prompt_ids=(1, 2), completion_ids=(4, 7), next_observation="user: hello, user: and", terminal=False)
    second = turn(prompt_ids=(1, 2, 4, 7, 3, 5, 9), completion_ids=(4, 7))
    reader = reader_of(user_prompt=(7, 3, 5))
    assert len(reader.index([first, second]).rows) == 1
    called_a_tool = replace(second, prompt_ids=(1, 2, 4, 7, 8, 9))
    assert len(reader.index([first, called_a_tool]).rows) == 2


def test_a_frozen_reader_reads_with_the_base_model_whatever_the_actor_has_learned(reader_of, model_folder, config):
    frozen = reader_of(train_reader=False)
    assert frozen.trained() == {}
    fresh = TokenReader(Actor.from_pretrained(model_folder, config).model, frozen.config)
    assert_close(read(frozen, TURNS), read(fresh, TURNS))
    assert (end_of(frozen, (1, 2, 3)) - outside(frozen, (1, 2, 3))).abs().max() > 0.01


def outside(reader, ids):
    """The same under the actor's adapter, which is in use wherever no reader is active."""
    with torch.no_grad():
        return reader.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]


def test_turns_may_be_read_in_any_order_and_selection(reader_of):
    reader = reader_of()
    whole, some = read(reader, TURNS), read(reader, TURNS, [4, 3, 0, 1, 2])
    for every_turn, picked in zip(whole, some, strict=True):
        assert_close(picked, every_turn[[4, 3, 0, 1, 2]], rtol=1e-4, atol=1e-4)
    one = read(reader, TURNS, [1], following=False)
    assert_close(one.action, whole.action[[1]], rtol=1e-4, atol=1e-4)


def test_what_follows_is_the_next_turns_observation_or_what_a_cut_episode_would_have_heard(reader_of):
    reader = reader_of()
    found = read(reader, TURNS)
    expected = [found.observation[1], found.observation[2], None, found.observation[4]]
    expected += [end_of(reader, TURNS[4].next_prompt_ids), None]
    for following, known in zip(found.following, expected, strict=True):
        assert_close(following, torch.zeros_like(following) if known is None else known, rtol=1e-4, atol=1e-4)
    assert not read(reader, TURNS, following=False).following.any()


def test_what_followed_a_cut_may_be_rendered_otherwise(reader_of):
    reader = reader_of()
    other = replace(TURNS[4], next_prompt_ids=(9, 8, 7, 6))
    turns = [*TURNS[3:4], other]
    found = read(reader, turns)
    assert_close(found.following[1], end_of(reader, (9, 8, 7, 6)), rtol=1e-4, atol=1e-4)
    assert_close(found.action[1], end_of(reader, other.prompt_ids + other.completion_ids), rtol=1e-4, atol=1e-4)


def test_stretches_of_one_conversation_keep_what_followed_each(reader_of):
    # The second goes on where the first was cut, token by token, and is cut too: one row, three ends.
    whole = dialogue("a", (0.0, 0.0, 0.0), terminal=False)
    turns = [replace(each, episode=f"a.{place}") for place, each in enumerate(whole)]
    reader = reader_of()
    found = read(reader, turns)
    for following, each in zip(found.following, turns, strict=True):
        assert_close(following, end_of(reader, each.next_prompt_ids), rtol=1e-4, atol=1e-4)


def test_a_part_of_an_episode_has_no_following_to_give(reader_of):
    with pytest.raises(KeyError):
        read(reader_of(), TURNS, [0])


def test_prompts_are_cut_on_the_left_and_replies_on_the_right_and_counted(reader_of):
    reader = reader_of(max_prompt_tokens=4, max_completion_tokens=3)
    index = reader.index(TURNS)
    # The prompts of turns a1, a2 and b1 are longer than 4, and the reply of a2 has 4 tokens.
    assert reader.count_cut(index) == 3
    assert max(len(row.ids) for row in index.rows) <= 7
    found = read(reader, TURNS)
    for place, each in enumerate(TURNS):
        observation, action = features_alone(reader, each, longest_prompt=4, longest_reply=3)
        assert_close(found.observation[place], observation, rtol=1e-4, atol=1e-4)
        assert_close(found.action[place], action, rtol=1e-4, atol=1e-4)
    assert_close(found.following[4], end_of(reader, TURNS[4].next_prompt_ids[-4:]), rtol=1e-4, atol=1e-4)
    assert reader.count_cut(reader_of().index(TURNS)) == 0


@pytest.mark.parametrize("encoding", ["joint", "split"])
def test_how_rows_are_put_together_changes_nothing(reader_of, encoding):
    whole = read(reader_of(critic_encoding=encoding), TURNS)
    for tokens in (1, 15, 40):
        split = read(reader_of(critic_encoding=encoding, max_tokens_per_microbatch=tokens), TURNS)
        for one, other in zip(whole, split, strict=True):
            assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 20, 40, 1000])
def test_the_parts_cover_every_turn_once_and_fit_a_pass_or_are_one_row(reader_of, tokens):
    reader = reader_of(max_tokens_per_microbatch=tokens)
    index = reader.index(TURNS)
    parts = reader.parts(index, [5, 2, 0, 1, 4, 3])
    assert sorted(place for part in parts for place in part) == list(EVERY)
    for part in parts:
        rows = {index.rows_of[place][0] for place in part}
        longest = max(len(index.rows[row].ids) for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= tokens
    assert len(parts) == (1 if tokens == 1000 else 3 if tokens == 1 else len(parts))


def test_a_reply_of_unknown_tokens_is_read_as_none(reader_of):
    silent = turn(trains_actor=False, completion_ids=(), behaviour_logprobs=())
    joint, split = reader_of(), reader_of(critic_encoding="split")
    assert_close(read(joint, [silent]).action, read(joint, [silent]).observation)
    found = read(split, [*TURNS, silent])
    assert_close(found.action[-1, : split.state_width], found.observation[-1])
    assert not found.action[-1, split.state_width :].any()
    assert_close(found.action[:-1], read(split, TURNS).action, rtol=1e-4, atol=1e-4)
    assert not read(split, [silent]).action[0, split.state_width :].any()


def test_a_turn_without_what_must_be_read_is_refused_by_name(reader_of):
    reader = reader_of()
    with pytest.raises(TransitionError, match=r"episode 'x' .* prompt"):
        reader.index([turn(episode="x", trains_actor=False, prompt_ids=())])
    with pytest.raises(TransitionError, match=r"episode 'b' .* next_prompt_ids"):
        reader.index([replace(each, next_prompt_ids=None) for each in TURNS[3:5]])


def test_the_twin_of_a_frozen_reader_is_itself_and_of_a_trained_one_a_copy(reader_of):
    frozen = reader_of(train_reader=False)
    assert frozen.twin() is frozen
    reader = reader_of()
    twin = reader.twin()
    assert_close(read(twin, TURNS), read(reader, TURNS), rtol=0, atol=0)
    with torch.no_grad():
        for weight in reader.trained().values():
            weight.mul_(2)
    assert (read(twin, TURNS).action - read(reader, TURNS).action).abs().max() > 0.01

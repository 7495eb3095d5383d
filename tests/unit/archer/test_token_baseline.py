"""What the first tokens of an utterance already promised is not credited to those that come after."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from worker.archer.actor import Actor
from worker.archer.config import ConfigError
from worker.archer.rows import build_rows, build_table
from worker.archer.token_baseline import subtract_baseline
from worker.archer.token_reader import TokenReader

# One state, and replies whose first token decides: 4 is good, 5 is bad, what follows changes nothing.
TURNS = [
    turn(episode=f"{first} {second}", completion_ids=(first, second, 9), behaviour_logprobs=(-1.0,) * 3)
    for first in (4, 5)
    for second in (6, 7)
]
ADVANTAGE = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat_interleave(3)


@pytest.fixture
def settings(config):
    return replace(config, critic_reader="policy", critic_encoding="joint", critic_lr=0.02, critic_batch_turns=24)


@pytest.fixture(params=[False, True], ids=["frozen", "trained"])
def reader(request, model_folder, settings):
    changed = replace(settings, train_reader=request.param)
    return TokenReader(Actor.from_pretrained(model_folder, changed).model, changed)


def subtracted(reader, settings, turns=TURNS, advantage=ADVANTAGE):
    return subtract_baseline(reader, build_rows(turns, 100), advantage, settings, torch.Generator().manual_seed(0))


def test_the_token_that_decides_has_the_advantage_and_the_others_have_nothing_left(reader, settings):
    found = subtracted(reader, settings).view(4, 3)
    assert_close(found[:, 0], torch.tensor([1.0, 1.0, -1.0, -1.0]), rtol=0, atol=0.1)
    assert_close(found[:, 1:], torch.zeros(4, 2), rtol=0, atol=0.1)


def test_how_rows_are_put_together_changes_nothing(reader, settings):
    turns = [*dialogue("a", (0.0, 0.0, 1.0)), *TURNS]
    advantage = torch.linspace(-1, 1, len(build_table(turns, torch.device("cpu")).turn))
    whole = subtracted(reader, settings, turns, advantage)
    reader.config = replace(settings, max_tokens_per_microbatch=8)
    assert_close(subtracted(reader, settings, turns, advantage), whole, rtol=0, atol=0.01)


def test_the_generator_decides_it_and_the_random_state_stays(reader, settings):
    before = torch.random.get_rng_state()
    assert torch.equal(subtracted(reader, settings), subtracted(reader, settings))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_trains_neither_the_reader_nor_the_actor(reader, settings):
    before = {name: weight.clone() for name, weight in reader.model.named_parameters()}
    assert not subtracted(reader, settings).requires_grad
    for name, weight in reader.model.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.grad is None


def test_an_update_takes_it_into_account(make_learner, settings):
    turns = dialogue("a", (1.0,)) + dialogue("b", (0.0,))
    losses = [
        make_learner(replace(settings, token_baseline=baseline)).update(turns).actor.loss for baseline in (False, True)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=0.01)


def test_it_is_refused_where_nothing_reads_tokens(settings):
    with pytest.raises(ConfigError, match="critic_reader"):
        replace(settings, critic_reader="encoder", token_baseline=True)

"""Behaviour cloning against a slow loop over tokens, and what may not change it."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import demonstration
from worker.archer.actor import Actor
from worker.archer.cloning import Cloning
from worker.archer.processes import ALONE, Processes

SHOWN = [
    demonstration(episode="a"),
    demonstration(episode="b", prompt_ids=(5, 6), completion_ids=(30,)),
    demonstration(episode="c", prompt_ids=(1, 2, 3, 9, 9, 9), completion_ids=(7, 8, 9, 10)),
]


@pytest.fixture
def actor(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder)


def gradient(actor):
    found = torch.cat([weight.grad.flatten() for weight in actor.parameters()])
    for weight in actor.parameters():
        weight.grad = None
    return found


def cloned(actor, config, shown=SHOWN, processes=(ALONE,)):
    """The loss and its gradient, of the shares of all these processes."""
    total = 0.0
    for process in processes:
        cloning = Cloning(actor, shown, config)
        cloning.processes = process
        for loss in cloning.losses(cloning.rows):
            loss.backward()
            total += loss.item()
    return total, gradient(actor)


def said_by_hand(actor, shown):
    """log π of each token, one forward pass each."""
    for place, token in enumerate(shown.completion_ids):
        ids = torch.tensor([shown.prompt_ids + shown.completion_ids[:place]])
        yield torch.log_softmax(actor.model(input_ids=ids).logits[0, -1], dim=-1)[token]


def test_the_gradient_is_that_of_a_slow_loop_over_single_tokens(actor, config):
    loss, fast = cloned(actor, replace(config, demonstration_weight=0.5))
    slow = 0.5 / 3 * sum(-sum(said_by_hand(actor, shown)) / len(shown.completion_ids) for shown in SHOWN)
    slow.backward()
    assert loss == pytest.approx(slow.item(), rel=1e-5)
    assert fast.abs().max() > 1e-3
    assert_close(fast, gradient(actor), rtol=1e-3, atol=1e-5)


def test_neither_the_order_nor_the_micro_batches_nor_the_processes_change_it(actor, config):
    loss, expected = cloned(actor, config)
    narrow = replace(config, max_tokens_per_microbatch=8)
    for found in (
        cloned(actor, config, SHOWN[::-1]),
        cloned(actor, narrow),
        cloned(actor, narrow, processes=(Processes(0, 2), Processes(1, 2))),
    ):
        assert found[0] == pytest.approx(loss, rel=1e-5)
        assert_close(found[1], expected, rtol=1e-3, atol=1e-5)


def test_how_likely_they_are_is_a_mean_of_each_replys_mean_without_its_weight(actor, config):
    cloning = Cloning(actor, SHOWN, replace(config, demonstration_weight=7.0))
    means = [sum(said_by_hand(actor, shown)).item() / len(shown.completion_ids) for shown in SHOWN]
    assert cloning.logprob_before == pytest.approx(sum(means) / 3, rel=1e-5)


def test_a_long_prompt_is_cut_on_the_left(actor, config):
    short = Cloning(actor, [demonstration(prompt_ids=(2, 3))], config)
    cut = Cloning(actor, [demonstration(prompt_ids=(1, 2, 3))], replace(config, max_prompt_tokens=2))
    assert cut.rows == short.rows


def test_rows_know_the_episodes_that_they_are_of(actor, config):
    cloning = Cloning(actor, SHOWN, config)
    assert cloning.names_of(cloning.rows[1:]) == ["b", "c"]
    assert cloning.names_of([]) == []

"""The large margin between replies against a slow loop over one pair at a time, and who learns from which."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import corrected, demonstration, dialogue
from tests.unit.archer.networks import READERS, TURNS
from worker.archer.contrasts import Contrasts, margin_losses
from worker.archer.demonstrated import turns_said, turns_shown
from worker.archer.dialogues import is_held_out
from worker.archer.processes import ALONE, Processes

BETTER = [corrected(turn, f"better {place}", (20 + place, 21, 22)) for place, turn in enumerate(TURNS)]
SHOWN = [
    # Every second the other way round, so that networks of noise keep some margins and miss others.
    replace(each, utterance=each.instead, completion_ids=each.instead_ids, instead=each.utterance, instead_ids=ids)
    if place % 2
    else each
    for place, (each, ids) in enumerate((each, each.completion_ids) for each in BETTER)
]
FROZEN_POLICY = {"frozen policy": {"critic_reader": "policy", "critic_encoding": "joint", "train_reader": False}}
EVERY_READER = READERS | FROZEN_POLICY
SHARE = 0.4


def contrasts_of(networks, shown=SHOWN, share=0.0):
    contrasts = Contrasts(networks.critic.reader, shown, share)
    contrasts.keep(networks.critic)
    return contrasts


def taught(networks, processes=(ALONE,), **changes):
    """J_E and its gradient, of the shares of all these processes."""
    networks.forget_gradients()
    contrasts, config = contrasts_of(networks), replace(networks.config, **changes)
    total = 0.0
    for process in processes:
        for loss in margin_losses(networks.critic, contrasts, contrasts.learned, config, process):
            loss.backward()
            total += loss.item()
    return total, gradient(networks)


def gradient(networks):
    """V takes no part in it."""
    weights = [weight for name, weight in networks.critic.trained().items() if not name.startswith("heads.v")]
    return torch.cat(
        [
            weight.new_zeros(weight.shape).flatten() if weight.grad is None else weight.grad.flatten()
            for weight in weights
        ]
    )


def by_hand(networks, weight, margin):
    """The equation as written, one pair and one member after the other."""
    networks.forget_gradients()
    critic, total, is_open = networks.critic, 0.0, []
    for each in SHOWN:
        shown, said = (critic.q(networks.alone(critic, of([each])[0])) for of in (turns_shown, turns_said))
        with critic.reader.active():
            for member in (0, 1):
                short = said[member, 0] + margin * critic.heads.scale - shown[member, 0]
                is_open.append(short.item() > 0)
                loss = weight * short.clamp(min=0) / critic.heads.scale / len(SHOWN)
                loss.backward(retain_graph=True)
                total += loss.item()
    assert {True, False} == set(is_open)  # else it says nothing about where the margin is kept
    return total, gradient(networks)


@pytest.mark.parametrize("changes", EVERY_READER.values(), ids=EVERY_READER)
def test_the_losses_and_gradients_are_those_of_a_slow_loop(networks_with, changes):
    networks = networks_with(**changes)
    found = taught(networks, demonstration_weight=0.5, demonstration_margin=0.1)
    assert_close(found, by_hand(networks, 0.5, 0.1), rtol=1e-3, atol=1e-4)
    assert found[1].abs().max() > 1e-3


@pytest.mark.parametrize("changes", EVERY_READER.values(), ids=EVERY_READER)
def test_neither_the_passes_nor_the_processes_change_it(networks_with, changes):
    loss, expected = taught(networks_with(**changes))
    narrow = {**changes, "max_tokens_per_microbatch": 16}
    for found in (
        taught(networks_with(**narrow)),
        taught(networks_with(**narrow), processes=(Processes(0, 2), Processes(1, 2))),
    ):
        assert found[0] == pytest.approx(loss, rel=1e-4)
        assert_close(found[1], expected, rtol=1e-3, atol=1e-4)


def test_values_and_what_holds_still_get_no_gradient(networks):
    taught(networks)
    assert all(weight.grad is None for weight in networks.critic.heads.v.parameters())
    assert all(weight.grad is None for weight in networks.critic.reader.encoder.parameters())
    assert all(weight.grad is None for weight in networks.target.trained().values())


def test_each_part_of_a_trained_reader_is_one_pass_so_that_sharded_layers_meet(networks_with):
    networks = networks_with(**READERS["policy, joint"], max_tokens_per_microbatch=16)
    passes = []
    hidden = networks.critic.reader.hidden
    networks.critic.reader.hidden = lambda rows: passes.append(len(rows)) or hidden(rows)
    contrasts = contrasts_of(networks)
    losses = margin_losses(networks.critic, contrasts, contrasts.learned, networks.config)
    next(losses)
    whole = len(passes)
    rest = sum(1 for _ in losses)
    assert len(passes) - whole == rest > 1


def test_a_step_holds_all_pairs_while_they_are_few_and_some_by_lot_where_not(networks):
    contrasts = contrasts_of(networks)
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert contrasts.some(6, generator) == list(range(6))
    assert torch.equal(before, generator.get_state())
    drawn = [contrasts.some(2, generator) for _ in range(20)]
    assert all(len(set(pairs)) == 2 for pairs in drawn)
    assert {pair for pairs in drawn for pair in pairs} == set(range(6))


def test_what_is_held_out_is_not_learned_from(networks):
    names = [f"conversation {number}" for number in range(8)]
    shown = [demonstration(episode="one of its episodes", conversation=name) for name in names]
    contrasts = contrasts_of(networks, shown, SHARE)
    held_out = [place for place, name in enumerate(names) if is_held_out(name, SHARE)]
    assert contrasts.held_out == held_out
    assert sorted([*contrasts.learned, *held_out]) == list(range(8))
    assert 0 < len(held_out) < 8


def test_the_lead_is_of_the_least_members(networks):
    contrasts = contrasts_of(networks)
    for place, each in enumerate(SHOWN):
        q = [networks.critic.q(networks.alone(networks.critic, of([each])[0])) for of in (turns_shown, turns_said)]
        expected = q[0].min() - q[1].min()
        assert contrasts.lead(networks.critic)[place].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("changes", EVERY_READER.values(), ids=EVERY_READER)
def test_demonstrations_of_held_out_conversations_move_no_weight_of_the_critic(make_learner, config, changes):
    names = [f"conversation {number}" for number in range(8)]
    turns = [each for number, name in enumerate(names) for each in dialogue(name, (0.0, number % 2 * 1.0))]
    chosen = replace(config, held_out_share=SHARE, warmup_updates=1, probed_states=0, critic_steps=3, **changes)
    held = [corrected(turn, "better", (40, 41)) for turn in turns if is_held_out(turn.episode, SHARE)]
    after = []
    for shown in ((), held):
        learner = make_learner(chosen)
        figures = learner.update(turns, shown)
        after.append(learner.critic.state())
    assert figures.demonstrations.taught_critic == 0
    assert figures.demonstrations.held_out_ranked_above == figures.demonstrations.ranked_above
    different = [name for name, weight in after[0].items() if not torch.equal(weight, after[1][name])]
    assert different == []

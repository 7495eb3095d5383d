"""Each of the actor's objectives moves the replies where it promises to, and no further than it promises."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.actor import Actor
from worker.archer.actor_training import ActorTraining
from worker.archer.rows import build_rows, build_table, collate

CPU = torch.device("cpu")
TURNS = [*dialogue("good", (0.0,)), *dialogue("bad", (0.0,))]
GOOD_AND_BAD = torch.tensor([1.0, -1.0])


@pytest.fixture
def actor(model_folder, adapter_folder, config):
    return Actor.from_pretrained(model_folder, config, adapter=adapter_folder)


@torch.no_grad()
def said(actor, turns=TURNS):
    """log π of all tokens of each turn."""
    table, batch = build_table(turns, CPU), collate(build_rows(turns, 100), CPU)
    found = torch.zeros(len(table.turn))
    found[batch.table] = actor.logprobs(batch, table.temperature[batch.table])
    return found


def trained(actor, config, advantage, turns=TURNS, steps=3):
    """The figures, and how far each turn's log-prob moved."""
    config = replace(config, actor_epochs=steps, actor_lr=1e-3)
    optimiser = torch.optim.Adam(actor.parameters(), lr=config.actor_lr)
    table, before = build_table(turns, CPU), said(actor, turns)
    training = ActorTraining(actor, optimiser, table, before, advantage[table.turn], config)
    names = [turn.episode for turn in turns]
    figures = training.run(build_rows(turns, 100), names, torch.Generator().manual_seed(0), lambda share: None)
    moved = said(actor, turns) - before
    return figures, [moved[table.turn == place].sum().item() for place in range(len(turns))]


def losses_gradient(actor, config, advantage, start=None, turns=TURNS):
    """Of the actor's own micro-batches."""
    table = build_table(turns, CPU)
    start = said(actor, turns) if start is None else start
    training = ActorTraining(actor, torch.optim.Adam(actor.parameters()), table, start, advantage[table.turn], config)
    for loss in training.losses(build_rows(turns, 100), len(turns)):
        loss.backward()
    return taken_gradient(actor)


def taken_gradient(actor):
    found = torch.cat([weight.grad.flatten() for weight in actor.parameters()])
    for weight in actor.parameters():
        weight.grad = None
    return found


def slow_gradient(actor, weights, turns=TURNS):
    """Σ over tokens of weight · ∇ log π, one forward pass a token."""
    total = 0.0
    for turn, weight in zip(turns, weights, strict=True):
        for place, token in enumerate(turn.completion_ids):
            logits = actor.model(input_ids=torch.tensor([turn.prompt_ids + turn.completion_ids[:place]])).logits[0, -1]
            total = total + weight[place] * torch.log_softmax(logits / turn.temperature, dim=-1)[token]
    total.backward()
    return taken_gradient(actor)


@pytest.mark.parametrize("objective", ["reinforce", "clipped"])
def test_a_good_reply_becomes_likelier_and_a_bad_one_less_likely(actor, config, objective):
    _, (good, bad) = trained(actor, replace(config, actor_objective=objective), GOOD_AND_BAD)
    assert good > 0.01
    assert bad < -0.01


def test_advantage_weighted_regression_pushes_no_reply_away(actor, config):
    chosen = replace(config, actor_objective="awr", awr_beta=2.0, awr_max_weight=5.0)
    fast = losses_gradient(actor, chosen, torch.tensor([4.0, -1.0]))
    # Weights e⁸, cut at 5, and e⁻²; over two turns.
    slow = slow_gradient(actor, [[-5.0 / 2] * 2, [-math.exp(-2.0) / 2] * 2])
    assert_close(fast, slow, rtol=1e-3, atol=1e-4)
    _, (bad,) = trained(actor, chosen, torch.tensor([-1.0]), turns=TURNS[1:], steps=1)
    assert bad > 0


def test_imitation_follows_the_chosen_replies_alike_and_no_other(actor, config):
    chosen = replace(config, actor_objective="imitation", actor_utterances="fresh")
    turns = [*TURNS, *dialogue("fair", (0.0,))]
    fast = losses_gradient(actor, chosen, torch.tensor([3.0, -1.0, 0.1]), turns=turns)
    third = [-1 / 3] * 2
    assert_close(fast, slow_gradient(actor, [third, [0.0, 0.0], third], turns), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "pushes"),
    [
        ({"actor_objective": "reinforce"}, [1.0, -1.0]),  # A
        ({"actor_objective": "clipped"}, [1.0, -1.0]),  # A, since r = 1
        ({"actor_objective": "awr"}, [math.e, 1 / math.e]),  # exp(A)
        ({"actor_objective": "imitation", "actor_utterances": "fresh"}, [1.0, 0.0]),  # A > 0
    ],
    ids=lambda value: value.get("actor_objective") if isinstance(value, dict) else "",
)
def test_a_turns_weight_multiplies_its_share_of_the_gradient_whatever_the_objective(actor, config, changes, pushes):
    logged = said(actor).view(2, 2).tolist()  # so that π/μ = 1
    turns = [
        replace(turn, weight=weight, behaviour_logprobs=tuple(logprobs))
        for turn, weight, logprobs in zip(TURNS, (3.0, 0.25), logged, strict=True)
    ]
    fast = losses_gradient(actor, replace(config, **changes), GOOD_AND_BAD, turns=turns)
    slow = slow_gradient(actor, [[-3.0 * pushes[0] / 2] * 2, [-0.25 * pushes[1] / 2] * 2], turns)
    assert_close(fast, slow, rtol=1e-3, atol=1e-5)
    assert fast.abs().max() > 1e-3


def test_the_clipped_gradient_is_that_of_a_slow_loop(actor, config):
    # Seen from where the first reply was said less often by e^(-.1) and the second by e^(-.5): with A = 1 and clips of
    # .2 the first still pushes, with r = e^.1, the second has left the region. μ lies elsewhere: w = min(π₀/μ, 2).
    chosen = replace(config, actor_objective="clipped")
    start = said(actor) - torch.tensor([0.1, 0.1, 0.5, 0.5])
    fast = losses_gradient(actor, chosen, torch.tensor([1.0, 1.0]), start)
    behaviour = torch.tensor([x for turn in TURNS for x in turn.behaviour_logprobs])
    weight = (start - behaviour).exp().clamp(max=2.0)
    pushes = (-weight * torch.tensor([0.1] * 2 + [0.5] * 2).exp() / 2).tolist()
    assert_close(fast, slow_gradient(actor, [pushes[:2], [0.0, 0.0]]), rtol=1e-3, atol=1e-5)
    assert fast.abs().max() > 1e-3


def test_a_clipped_reply_is_left_alone_once_it_has_moved_far_enough(model_folder, adapter_folder, config):
    furthest = {}
    for reach in (0.1, 0.9):
        actor = Actor.from_pretrained(model_folder, config, adapter=adapter_folder)
        table, before = build_table(TURNS, CPU), said(actor)
        chosen = replace(config, actor_objective="clipped", clip_low=reach, clip_high=reach, actor_epochs=40)
        # Without momentum, so that what is not pushed does not move.
        optimiser = torch.optim.SGD(actor.parameters(), lr=0.005)
        training = ActorTraining(actor, optimiser, table, before, GOOD_AND_BAD[table.turn], chosen)
        training.run(build_rows(TURNS, 100), ["good", "bad"], torch.Generator(), lambda share: None)
        furthest[reach] = (said(actor) - before).exp().max().item()
    assert 1.1 < furthest[0.1] < 1.3
    assert furthest[0.9] > 1.8


def test_the_exact_kl_holds_the_replies_closer(actor, config, model_folder, adapter_folder):
    far, _ = trained(actor, config, GOOD_AND_BAD, steps=6)
    held_actor = Actor.from_pretrained(model_folder, config, adapter=adapter_folder)
    held, (good, bad) = trained(held_actor, replace(config, kl_coefficient=3.0), GOOD_AND_BAD, steps=6)
    assert 0 < held.kl_to_start < far.kl_to_start / 2
    assert good > 0 > bad


def test_the_exact_kl_is_of_the_whole_vocabulary_to_the_policy_before_the_update(
    actor, config, model_folder, adapter_folder
):
    before = Actor.from_pretrained(model_folder, config, adapter=adapter_folder)
    chosen, table = replace(config, kl_coefficient=0.5), build_table(TURNS, CPU)
    zero = torch.zeros(2)
    training = ActorTraining(actor, torch.optim.Adam(actor.parameters()), table, said(actor), zero[table.turn], chosen)
    with torch.no_grad():
        for weight in actor.parameters():
            weight.mul_(1.3)  # the policy has moved since the update began
    loss = 0.0
    for part in training.losses(build_rows(TURNS, 100), 2):
        part.backward()
        loss += part.item()
    fast, slow = taken_gradient(actor), 0.0
    for turn in TURNS:
        for place in range(len(turn.completion_ids)):
            ids = torch.tensor([turn.prompt_ids + turn.completion_ids[:place]])
            now = actor.model(input_ids=ids).logits[0, -1].log_softmax(dim=-1)
            with torch.no_grad():
                then = before.model(input_ids=ids).logits[0, -1].log_softmax(dim=-1)
            slow = slow + 0.5 / 2 * (now.exp() * (now - then)).sum()
    slow.backward()
    assert loss == pytest.approx(slow.item(), rel=1e-4)
    assert loss > 0.01
    assert_close(fast, taken_gradient(actor), rtol=1e-3, atol=1e-4)


def test_nothing_is_remembered_where_no_kl_is_asked_for(actor, config):
    trained(actor, config, GOOD_AND_BAD, steps=1)
    assert list(actor.model.peft_config) == ["default"]


def test_each_update_is_held_to_where_it_began_itself(actor, config):
    trained(actor, replace(config, kl_coefficient=3.0), GOOD_AND_BAD, steps=4)
    batch = collate(build_rows(TURNS, 100), CPU)
    with torch.no_grad():
        assert not torch.allclose(actor.reference_logits(batch), actor.logits(batch), atol=0.01)
        actor.remember()
        assert torch.equal(actor.reference_logits(batch), actor.logits(batch))

"""Logged conversations weighed for a policy that a tiny model speaks."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fixtures.transitions import turn
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.evidence import (
    REPLIES,
    STATES,
    Evidence,
    NothingInCommonError,
    as_whole_conversations,
    gather_evidence,
)
from worker.archer.importance import summed_log_ratios
from worker.archer.off_policy import effective_units, estimate
from worker.archer.presets import PRESETS
from worker.archer.speaker import Speaker
from worker.archer.spoken import read_spoken
from worker.archer.types import Transition, TransitionError

CONVERSATIONS = 60


@pytest.fixture(scope="module")
def actor(model_folder: Path) -> Actor:
    return Actor.from_pretrained(model_folder, ArcherConfig())


@pytest.fixture(scope="module")
def logged(actor: Actor) -> list[Transition]:
    """Conversations of one to three turns that the tiny model held with itself; a first token below 128 is paid."""
    turns = []
    for number in range(CONVERSATIONS):
        prompt: tuple[int, ...] = (1, 2, number)
        for place in range(1 + number % 3):
            said = speak(actor, prompt, seed=10 * number + place)
            turns.append(
                turn(
                    episode=str(number),
                    prompt_ids=prompt,
                    completion_ids=tuple(said[0]),
                    behaviour_logprobs=tuple(said[1]),
                    reward=float(said[0][0] < 128),
                    terminal=False,
                    next_prompt_ids=None,
                )
            )
            prompt = (*prompt, *said[0], 5)
    return turns


def speak(actor: Actor, prompt: tuple[int, ...], *, seed: int) -> tuple[list[int], list[float]]:
    generator = torch.Generator().manual_seed(seed)
    speaker = Speaker(actor.model, 1, ends=actor.end_tokens(), max_new_tokens=3, generator=generator)
    said = speaker.speak([prompt])[0]
    return said.ids, said.logprobs


@pytest.fixture(scope="module")
def at_home(actor: Actor, logged: list[Transition]) -> Evidence:
    """The evidence of the policy that held the conversations."""
    return gather_evidence(actor, logged, alone(logged), ArcherConfig())


@pytest.fixture
def moved(model_folder: Path) -> Actor:
    """Another policy near by."""
    actor = Actor.from_pretrained(model_folder, ArcherConfig())
    generator = torch.Generator().manual_seed(0)
    state = actor.adapter_state()
    actor.load_adapter_state({name: w + 0.03 * torch.randn(w.shape, generator=generator) for name, w in state.items()})
    return actor


def alone(turns: list[Transition]) -> dict[str, str]:
    return {each.held_out_by: each.held_out_by for each in turns}


def test_whole_conversations_end_where_they_ended_whatever_ended_them(logged):
    whole = as_whole_conversations(logged[:3])
    assert [(each.episode, each.terminal, each.on_policy) for each in whole] == [
        ("0", True, False),
        ("1", False, False),
        ("1", True, False),
    ]


def test_whoever_spoke_is_no_better_than_what_came(at_home, logged):
    assert effective_units(at_home.weight, at_home.unit) == pytest.approx(CONVERSATIONS, rel=1e-3)
    assert at_home.gains.abs().max().item() < 1e-3
    # A judge could only add noise to what is known to be nothing.
    assert at_home.trust < 1e-3
    assert estimate(at_home.difference, at_home.unit) == pytest.approx((0.0, 0.0, 0.0), abs=1e-3)
    assert at_home.logged.sum().item() == sum(each.reward for each in logged)
    assert at_home.truncated_share == 0.0
    assert at_home.replies == min(STATES, len(logged)) * REPLIES


def test_weights_are_what_the_policies_say_of_whole_conversations(moved, logged):
    evidence = gather_evidence(moved, logged, alone(logged), ArcherConfig())
    whole = as_whole_conversations(logged)
    spoken = read_spoken(moved, whole, ArcherConfig())
    of_turn, _ = summed_log_ratios(spoken.start, spoken.table.behaviour_logprobs, spoken.table.turn, len(whole))
    name = evidence.conversations[2]
    expected = sum(ratio for ratio, each in zip(of_turn.tolist(), whole, strict=True) if each.episode == name)
    assert evidence.weight[2].log().item() == pytest.approx(expected, abs=1e-4)
    assert effective_units(evidence.weight, evidence.unit) < CONVERSATIONS - 1


def test_the_same_seed_gives_the_same_evidence_and_leaves_the_policy_as_it_was(moved, logged):
    before = moved.adapter_state()
    first, second = (gather_evidence(moved, logged, alone(logged), ArcherConfig(), seed=4) for _ in range(2))
    assert torch.equal(first.difference, second.difference)
    assert all(torch.equal(before[name], weight) for name, weight in moved.adapter_state().items())
    assert moved.model.active_adapter == "default"


@pytest.mark.parametrize("preset", PRESETS)
def test_how_a_version_was_trained_does_not_judge_it(moved, logged, preset):
    plain, trained = (gather_evidence(moved, logged, alone(logged), each) for each in (ArcherConfig(), PRESETS[preset]))
    assert torch.equal(plain.weight, trained.weight)
    assert torch.equal(plain.difference, trained.difference)


def test_conversations_of_one_end_user_are_one_unit(moved, logged):
    units = {name: str(int(name) % 20) for name in alone(logged)}
    evidence = gather_evidence(moved, logged, units, ArcherConfig())
    assert int(evidence.unit.max()) == 19
    assert evidence.unit[:21].tolist() == [*range(20), 0]


def test_a_reply_without_log_probs_is_refused(actor, logged):
    silent = [replace(logged[0], trains_actor=False, behaviour_logprobs=()), *logged[1:]]
    with pytest.raises(TransitionError, match="episode '0'"):
        gather_evidence(actor, silent, alone(silent), ArcherConfig())


def test_conversations_that_hold_none_of_what_the_policy_would_say_are_refused(actor, logged):
    as_if_certain = [
        replace(each, completion_ids=(each.completion_ids[0],) * 200, behaviour_logprobs=(0.0,) * 200)
        for each in logged
    ]
    with pytest.raises(NothingInCommonError, match=r"worth \d.\d units"):
        gather_evidence(actor, as_if_certain, alone(as_if_certain), ArcherConfig())


def test_the_mean_weight_says_how_much_of_the_policy_was_logged(at_home, actor, logged):
    assert at_home.covered == pytest.approx((1.0, 1.0, 1.0), abs=1e-3)
    # Each reply logged as ten times as likely as it was: a tenth of the policy, and no weight differs from another.
    inflated = [
        replace(each, behaviour_logprobs=(each.behaviour_logprobs[0] + math.log(10), *each.behaviour_logprobs[1:]))
        for each in logged
        if each.behaviour_logprobs[0] < -math.log(10)
    ]
    evidence = gather_evidence(actor, inflated, alone(inflated), ArcherConfig())
    assert evidence.covered.high < 0.2

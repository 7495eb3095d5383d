"""ArCHer as a benchmark plays it: what an update reads when outcomes come late, and whose words it takes them for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.methods.archer import Archer
from bench.playing.games import Played, Turn
from bench.playing.transitions import transitions_of
from sim.task import End
from tests.fixtures.tiny_model import write_tiny_model
from worker.archer.presets import MODERN

CONFIG = replace(MODERN, critic_steps=2, probed_states=0, critic_gate=None, held_out_share=0.0)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("policy"), hidden_size=64)


def game(seed, *rewards):
    """Turns of two tokens."""
    turns = [Turn((1, 2, 3), (20 + seed, 30 + place), (-5.0, -4.0), "", "", r) for place, r in enumerate(rewards)]
    return Played(seed, tuple(turns), End.TERMINAL, (1, 2, 3, 4))


def learned_from(method, monkeypatch):
    """The turns that each later update of the method is given."""
    given = []
    whole = method.learner.update
    monkeypatch.setattr(method.learner, "update", lambda turns: (given.append(turns), whole(turns))[1])
    return given


def test_an_update_reads_what_was_played_so_many_updates_ago(policy, monkeypatch):
    method = Archer(policy, CONFIG, per_step=2, replay=3, seed=0, staleness=2)
    given = learned_from(method, monkeypatch)
    for step in range(4):
        figures = method.learn([game(2 * step, 1.0), game(2 * step + 1, 0.0)])
        assert ("held back" in str(figures["skipped"])) == (step < 2)
    assert [[turn.episode for turn in turns] for turns in given] == [["0", "1"], ["1", "2", "3"]]
    assert not any(turn.on_policy for turns in given for turn in turns)


def test_without_weights_a_turn_is_as_likely_as_the_policy_finds_it_now(policy, monkeypatch):
    method = Archer(policy, CONFIG, per_step=2, replay=2, seed=0, staleness=1, is_weighted=False)
    given = learned_from(method, monkeypatch)
    method.learn([game(0, 1.0), game(1, 0.0, 2.0)])
    method.learn([game(2, 1.0), game(3, 0.0)])
    plain = [turn for one in (game(0, 1.0), game(1, 0.0, 2.0)) for turn in transitions_of(one, on_policy=True)]
    fresh = Archer(policy, CONFIG, per_step=2, replay=2, seed=0)
    for turn, logged in zip(given[0], plain, strict=True):
        ids = torch.tensor([logged.prompt_ids + logged.completion_ids])
        with torch.no_grad():
            now = fresh.actor.model(input_ids=ids).logits[0, 2:-1].log_softmax(dim=-1)
        expected = now[torch.arange(2), torch.tensor(logged.completion_ids)].tolist()
        assert turn.behaviour_logprobs == pytest.approx(expected, abs=1e-5)
        assert replace(turn, behaviour_logprobs=logged.behaviour_logprobs) == logged


def test_a_game_paid_at_its_end_earns_all_there():
    turns = transitions_of(game(0, -1.0, -1.0, 0.5), on_policy=True, paid_at_end=True)
    assert [turn.reward for turn in turns] == [0.0, 0.0, -1.5]

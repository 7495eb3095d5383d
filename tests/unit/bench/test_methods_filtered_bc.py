"""Filtered behaviour cloning on games of a few tokens: whom it imitates, how, and that it goes on to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from bench.methods.filtered_bc import FilteredBC, FilteredBCConfig, best_games
from bench.playing.games import Played, Turn
from bench.playing.transitions import transitions_of
from sim.task import End
from tests.fixtures.tiny_model import write_tiny_model
from worker.archer.rows import build_rows, collate

CONFIG = FilteredBCConfig(minibatch_turns=2, per_step=4, share=0.25)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("policy"), hidden_size=64)


def game(seed, *rewards):
    """Turns of two tokens; what every game says is its own."""
    prompt, turns = (1, 2, 3), []
    for number, reward in enumerate(rewards):
        completion = (20 + 10 * seed + number, 21 + 10 * seed + number)
        turns.append(Turn(prompt, completion, (-5.0, -5.0), "", "", reward))
        prompt = (*prompt, *completion, 7, 8)
    return Played(seed, tuple(turns), End.TERMINAL, prompt)


def logprob(method, one):
    """log π of all that this game says, as the policy is now."""
    tokens = collate(build_rows(transitions_of(one, on_policy=True), 100), torch.device("cpu"))
    return method.actor.logprobs(tokens, torch.ones(len(tokens.targets))).sum()


def seeds(games):
    return [one.seed for one in games]


def test_the_best_tenth_is_chosen():
    games = [game(seed, float(seed)) for seed in range(20)]
    assert seeds(best_games(games, 0.1)) == [18, 19]


def test_ties_at_the_cutoff_are_all_chosen():
    games = [game(seed, float(seed < 5)) for seed in range(20)]
    assert seeds(best_games(games, 0.1)) == [0, 1, 2, 3, 4]


def test_the_whole_return_counts_undiscounted():
    assert seeds(best_games([game(0, 2.0), game(1, 0.0, 3.0), game(2, 1.0, 1.5)], 0.1)) == [1]


def test_only_the_newest_games_of_the_window_are_chosen_from(policy):
    method = FilteredBC(policy, replace(CONFIG, window=3), seed=0)
    method.learn([game(0, 9.0), game(1, 0.0)])
    figures = method.learn([game(2, 1.0), game(3, 0.0)])
    assert seeds(method.kept) == [1, 2, 3]
    assert figures["least_return_chosen"] == 1.0


def test_without_a_window_the_oldest_game_is_still_chosen_from(policy):
    method = FilteredBC(policy, replace(CONFIG, window=None), seed=0)
    method.learn([game(0, 9.0), game(1, 0.0)])
    assert method.learn([game(2, 1.0), game(3, 0.0)])["least_return_chosen"] == 9.0


def test_the_gradient_is_that_of_the_best_games_cross_entropy(policy):
    config = replace(CONFIG, passes=1, minibatch_turns=8)
    method, slow = (FilteredBC(policy, config, seed=0) for _ in range(2))
    best = game(3, 0.0, 5.0)
    figures = method.learn([game(0, 1.0), game(1, 0.0), game(2, 2.0), best])
    (-logprob(slow, best) / 2).backward()
    assert figures["nats_a_turn"] == pytest.approx(-logprob(slow, best).item() / 2, rel=1e-5)
    torch.nn.utils.clip_grad_norm_(slow.actor.parameters(), 1.0)
    for mine, yours in zip(method.actor.parameters(), slow.actor.parameters(), strict=True):
        assert_close(mine.grad, yours.grad, atol=1e-5, rtol=1e-4)


def test_the_best_game_becomes_likelier(policy):
    method = FilteredBC(policy, CONFIG, seed=0)
    games = [game(seed, float(seed)) for seed in range(4)]
    before = logprob(method, games[3]).item()
    method.learn(games)
    assert logprob(method, games[3]).item() > before


def test_each_pass_is_made_of_minibatches(policy):
    method = FilteredBC(policy, replace(CONFIG, passes=3), seed=0)
    # two games of two turns tie for the best: two steps of two turns, three times
    assert method.learn([game(0, 0.0, 1.0), game(1, 1.0, 0.0), game(2, 0.0)])["steps"] == 6


def test_restored_it_goes_on_to_the_bit(policy, tmp_path):
    first, second = FilteredBC(policy, CONFIG, seed=0), FilteredBC(policy, CONFIG, seed=1)
    first.learn([game(0, 3.0, 1.0), game(1, 4.0, 0.0), game(2, 0.0)])
    first.save(tmp_path)
    second.restore(tmp_path)
    more = [game(3, 2.0, 2.0), game(4, 0.0)]
    assert first.learn(more) == second.learn(more)
    yours = second.actor.adapter_state()
    assert all(torch.equal(weight, yours[name]) for name, weight in first.actor.adapter_state().items())

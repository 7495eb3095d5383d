"""REINFORCE on games of a few tokens: its gradient against the equation, signs, and that it goes on to the bit."""

from pathlib import Path

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from bench.methods.reinforce import Reinforce, ReinforceConfig
from bench.playing.games import Played, Turn
from bench.playing.transitions import transitions_of
from sim.task import End
from tests.fixtures.tiny_model import write_tiny_model
from worker.archer.rows import build_rows, collate

CONFIG = ReinforceConfig(minibatch_turns=2, per_step=4)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("policy"), hidden_size=64)


def game(seed, rewards, *, logprob=-5.0):
    """Turns of two tokens; what every game says is its own."""
    prompt, turns = (1, 2, 3), []
    for number, reward in enumerate(rewards):
        completion = (20 + 10 * seed + number, 21 + 10 * seed + number)
        turns.append(Turn(prompt, completion, (logprob, logprob), "", "", reward))
        prompt = (*prompt, *completion, 7, 8)
    return Played(seed, tuple(turns), End.TERMINAL, prompt)


def logprobs(method, *games):
    """log π of each token of these games, as the policy is now."""
    turns = [turn for one in games for turn in transitions_of(one, on_policy=True)]
    tokens = collate(build_rows(turns, 100), torch.device("cpu"))
    return method.actor.logprobs(tokens, torch.ones(len(tokens.targets)))


def test_the_gradient_follows_returns_less_their_mean_over_their_spread(policy):
    config = ReinforceConfig(gamma=0.5, minibatch_turns=8)
    games = [game(0, (1.0, 2.0)), game(1, (0.0,)), game(2, (0.0, -2.0))]
    method, slow = (Reinforce(policy, config, seed=0) for _ in range(2))
    method.learn(games)
    # returns-to-go 1 + .5 · 2 = 2, 2;  0;  -1, -2;  their mean .2, their variance (4 + 4 + 0 + 1 + 4)/5 - .04 = 2.56
    advantage = (tensor([2.0, 2.0, 0.0, -1.0, -2.0]) - 0.2) / 2.56**0.5
    now = torch.cat([logprobs(slow, one) for one in games])
    ratio = (now.detach() + 5.0).exp().clamp(max=2.0)
    (-(advantage.repeat_interleave(2) * ratio * now).sum() / 5).backward()
    torch.nn.utils.clip_grad_norm_(slow.actor.parameters(), 1.0)
    for mine, yours in zip(method.actor.parameters(), slow.actor.parameters(), strict=True):
        assert_close(mine.grad, yours.grad, atol=1e-5, rtol=1e-4)


def test_what_earned_more_becomes_likelier_and_what_earned_less_unlikelier(policy):
    method = Reinforce(policy, CONFIG, seed=0)
    good, bad = game(0, (1.0,)), game(1, (-1.0,))
    before = logprobs(method, good).sum(), logprobs(method, bad).sum()
    method.learn([good, bad])
    assert logprobs(method, good).sum() > before[0]
    assert logprobs(method, bad).sum() < before[1]


def test_equal_returns_leave_the_policy_as_it_was(policy):
    method = Reinforce(policy, CONFIG, seed=0)
    before = method.actor.adapter_state()
    method.learn([game(0, (1.0,)), game(1, (1.0,))])
    assert all(torch.equal(weight, before[name]) for name, weight in method.actor.adapter_state().items())


def test_one_pass_is_made_of_minibatches(policy):
    method = Reinforce(policy, CONFIG, seed=0)
    assert method.learn([game(seed, (0.0, float(seed))) for seed in range(3)])["steps"] == 3  # six turns in twos


def test_restored_it_goes_on_to_the_bit(policy, tmp_path):
    first, second = Reinforce(policy, CONFIG, seed=0), Reinforce(policy, CONFIG, seed=1)
    games = [game(seed, (0.0, float(seed))) for seed in range(4)]
    first.learn(games)
    first.save(tmp_path)
    second.restore(tmp_path)
    assert first.learn(games) == second.learn(games)
    yours = second.actor.adapter_state()
    assert all(torch.equal(weight, yours[name]) for name, weight in first.actor.adapter_state().items())

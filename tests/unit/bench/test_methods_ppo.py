"""PPO on games of a few tokens: advantages by hand, signs, when it stops, and that it goes on to the bit."""

import random
from pathlib import Path

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from bench.methods.ppo import PPOConfig, TokenPPO, TurnPPO, entropy, gae, steps_of, token_steps
from bench.playing.games import Played, Turn
from bench.playing.transitions import transitions_of
from sim.task import End
from tests.fixtures.tiny_model import write_tiny_model
from tests.fixtures.transitions import dialogue
from worker.archer.rows import build_rows, build_table, collate

CONFIG = PPOConfig(epochs=2, minibatch_turns=2, per_step=4)
KINDS = (TurnPPO, TokenPPO)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("policy"), hidden_size=64)


def game(ppo, seed, rewards, *, end=End.TERMINAL):
    """Turns of two and three tokens in turn, as likely as the policy finds them."""
    prompt, turns = (1, 2, 3), []
    for number, reward in enumerate(rewards):
        completion = tuple(20 + 10 * seed + number + step for step in range(2 + number % 2))
        turns.append(Turn(prompt, completion, (0.0,) * len(completion), "", "", reward))
        prompt = (*prompt, *completion, 7, 8)
    played = Played(seed, tuple(turns), end, prompt)
    said = iter(logprobs(ppo, [played]).tolist())
    turns = [
        Turn(t.prompt_ids, t.completion_ids, tuple(next(said) for _ in t.completion_ids), "", "", t.reward)
        for t in turns
    ]
    return Played(seed, tuple(turns), end, prompt)


@torch.no_grad()
def logprobs(ppo, played):
    """log π of each token of these games, as the policy is now."""
    tokens = collate(
        build_rows([turn for one in played for turn in transitions_of(one, on_policy=True)], 100), torch.device("cpu")
    )
    return ppo.actor.logprobs(tokens, torch.ones(len(tokens.targets)))


def test_gae_adds_later_surprises_shrunk():
    reward, value, after = tensor([-1.0, -1.0, 0.0]), tensor([-2.0, -1.0, -0.5]), tensor([-1.0, -0.5, 0.0])
    advantage = gae(reward, value, after, torch.full((3,), 0.9), tensor([False, False, True]), lam=0.5)
    # δ = -1 - .9 + 2 = .1,  -1 - .45 + 1 = -.45,  0 + .5 = .5;  A₂ = .5, A₁ = -.45 + .45 · .5, A₀ = .1 + .45 · A₁
    assert_close(advantage, tensor([-0.00125, -0.225, 0.5]))


def test_gae_is_what_a_loop_over_each_episode_says():
    chance = random.Random(0)
    lengths = (3, 1, 5, 2)
    columns = [[chance.uniform(-1, 1) for _ in range(sum(lengths))] for _ in range(4)]
    reward, value, after, discount = columns
    expected, start = [0.0] * len(reward), 0
    for length in lengths:
        following = 0.0
        for step in reversed(range(start, start + length)):
            following = reward[step] + discount[step] * (after[step] + 0.8 * following) - value[step]
            expected[step] = following
        start += length
    ends = tensor([place + 1 == length for length in lengths for place in range(length)])
    assert_close(gae(*map(tensor, columns), ends, 0.8), tensor(expected))


def test_without_values_and_at_lambda_one_gae_is_the_discounted_return():
    nothing = torch.zeros(3)
    advantage = gae(tensor([1.0, 2.0, 4.0]), nothing, nothing, torch.full((3,), 0.5), tensor([False, False, True]), 1.0)
    assert_close(advantage, tensor([3.0, 4.0, 4.0]))


def test_a_turn_taken_apart_earns_with_its_last_token_and_is_discounted_after_it():
    turns = dialogue("a", (-1.0, 5.0))  # of two and of three tokens
    steps = steps_of(turns, build_table(turns, torch.device("cpu")), "token", 0.9)
    assert [step.reward for step in steps.transitions] == [0.0, -1.0, 0.0, 0.0, 5.0]
    assert [step.terminal for step in steps.transitions] == [False, False, False, False, True]
    assert_close(steps.discount, tensor([1.0, 0.9, 1.0, 1.0, 0.9]))
    assert steps.of_token.tolist() == [0, 1, 2, 3, 4]
    assert [len(step.prompt_ids) for step in steps.transitions] == [3, 4, 7, 8, 9]


def test_the_step_of_a_token_is_its_turn_where_turns_are_judged():
    turns = dialogue("a", (-1.0, 5.0))
    steps = steps_of(turns, build_table(turns, torch.device("cpu")), "turn", 0.9)
    assert steps.of_token.tolist() == [0, 0, 1, 1, 1]
    assert_close(steps.discount, tensor([0.9, 0.9]))


def test_the_value_of_a_token_is_read_where_it_is_predicted(policy):
    ppo = TokenPPO(policy, CONFIG, seed=0)
    steps = token_steps(transitions_of(game(ppo, 0, (-1.0, -1.0)), on_policy=True))
    reader = ppo.critic.reader
    with torch.no_grad(), reader.active():
        together = reader.read(reader.index(steps), range(5), following=False).observation
        alone = [reader.model.get_base_model().base_model(tensor([step.prompt_ids]))[0][0, -1] for step in steps]
    assert_close(together, torch.stack(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_game_is_worth_what_v_says_of_its_next_state_and_an_ended_one_nothing(policy, kind):
    ppo = kind(policy, CONFIG, seed=0)
    ppo.critic.heads.is_calibrated.fill_(True)  # at shift 0, scale 1
    with torch.no_grad():
        ppo.critic.heads.v[0].layers[-1].bias.fill_(-4.0)
    games = [game(ppo, 0, (-1.0,)), game(ppo, 1, (-1.0,), end=End.TRUNCATED)]
    turns = [turn for one in games for turn in transitions_of(one, on_policy=True)]
    steps = steps_of(turns, build_table(turns, torch.device("cpu")), kind.level, 0.95)
    value, advantage = ppo._judge(steps, ppo.critic.reader.index(steps.transitions))
    assert_close(value, torch.full_like(value, -4.0))
    # the last step of each: -1 + 4 = 3, and -1 + .95 · -4 + 4 = -.8
    last = [len(advantage) // 2 - 1, len(advantage) - 1]
    assert_close(advantage[last], tensor([3.0, -0.8]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_earned_more_becomes_likelier_and_what_earned_less_unlikelier(policy, kind):
    ppo = kind(policy, CONFIG, seed=0)
    good, bad = game(ppo, 0, (1.0,)), game(ppo, 1, (-1.0,))
    before = logprobs(ppo, [good]).sum(), logprobs(ppo, [bad]).sum()
    ppo.learn([good, bad])
    assert logprobs(ppo, [good]).sum() > before[0]
    assert logprobs(ppo, [bad]).sum() < before[1]


@pytest.mark.parametrize("kind", KINDS)
def test_values_learn_which_games_end_well(policy, kind):
    config = PPOConfig(epochs=30, value_learning_rate=1e-2, target_kl=None, minibatch_turns=8)
    ppo = kind(policy, config, seed=0)
    games = [game(ppo, seed, (0.0, 4.0 * (seed % 2))) for seed in range(4)]
    ppo.learn(games)
    explained = ppo.learn(games)["explained_variance"]
    assert isinstance(explained, float)
    # Of a game's four or five tokens, and of its two turns, all but the first are told apart by what was said.
    assert explained > 0.3


def test_no_pass_begins_once_the_policy_has_gone_too_far(policy):
    near = TurnPPO(policy, PPOConfig(epochs=3, minibatch_turns=1, target_kl=1e-9), seed=0)
    games = [game(near, 0, (1.0,)), game(near, 1, (-1.0,))]
    assert near.learn(games)["passes"] == 1
    far = TurnPPO(policy, PPOConfig(epochs=3, minibatch_turns=1, target_kl=None), seed=0)
    assert far.learn(games)["passes"] == 3


def test_the_policy_alone_moves_under_the_actors_adapter_and_v_under_its_own(policy):
    ppo = TurnPPO(policy, CONFIG, seed=0)
    games = [game(ppo, 0, (1.0,)), game(ppo, 1, (-1.0,))]
    ppo.learn(games)
    trained = set(map(id, ppo.actor.parameters())) & set(map(id, ppo.critic.trained().values()))
    assert not trained
    assert ppo.player.active_adapter == "default"


def test_equal_rewards_leave_the_policy_as_it_was(policy):
    ppo = TurnPPO(policy, CONFIG, seed=0)
    before = ppo.actor.adapter_state()
    ppo.learn([game(ppo, 0, (1.0,)), game(ppo, 1, (1.0,))])
    assert all(torch.equal(weight, before[name]) for name, weight in ppo.actor.adapter_state().items())


@pytest.mark.parametrize("kind", KINDS)
def test_restored_it_goes_on_to_the_bit(policy, tmp_path, kind):
    first = kind(policy, CONFIG, seed=0)
    games = [game(first, seed, (0.0, float(seed))) for seed in range(4)]
    first.learn(games)
    first.save(tmp_path)
    second = kind(policy, CONFIG, seed=1)
    second.restore(tmp_path)
    assert first.learn(games) == second.learn(games)
    for mine, yours in (
        (first.actor.adapter_state(), second.actor.adapter_state()),
        (first.critic.state(), second.critic.state()),
    ):
        assert all(torch.equal(weight, yours[name]) for name, weight in mine.items())


def test_entropy_is_that_of_the_distribution():
    # two equally likely tokens: log 2; one certain token: 0
    assert_close(entropy(tensor([[0.0, 0.0], [0.0, -100.0]])), tensor([0.6931472, 0.0]))


def test_minibatches_hold_every_row_once_and_none_is_a_remainder(policy):
    ppo = TurnPPO(policy, CONFIG, seed=0)
    turns = [turn for number in range(9) for turn in dialogue(f"game {number}", (0.0, 0.0))]
    rows = build_rows(turns, 100)
    parts = ppo.minibatches(rows, 4)  # 18 turns in 4s: four parts of 9 rows
    assert sorted(len(part) for part in parts) == [2, 2, 2, 3]
    assert sorted(row.spans[0].table for part in parts for row in part) == sorted(row.spans[0].table for row in rows)

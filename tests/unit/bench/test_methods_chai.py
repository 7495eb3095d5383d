"""CHAI on games of a few tokens: what it says is what was chosen, its critic learns, its actor never."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoTokenizer

from bench.methods.chai import Chai, ChaiConfig
from bench.playing.games import Played, Turn, play
from bench.playing.reranked import play_reranked
from bench.playing.transitions import transitions_of
from sim.catalogue import find_task
from sim.task import End
from tests.fixtures.tiny_model import write_tiny_model
from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.rows import build_rows, collate
from worker.archer.speaker import Utterance
from worker.archer.types import Transition

TASK = find_task("twenty-questions-10")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("policy"), hidden_size=64)


@pytest.fixture(scope="module")
def tokenizer(policy: Path):
    return AutoTokenizer.from_pretrained(policy)


def game(seed, reply, reward):
    """One turn, the same prompt in every game."""
    return Played(
        seed, (Turn((1, 2, 3), reply, (-5.0,) * len(reply), "", "", reward),), End.TERMINAL, (1, 2, 3, *reply)
    )


def said(*ids):
    return Utterance(list(ids), [-5.0] * len(ids))


def test_of_one_candidate_the_game_is_the_plain_one(policy, tokenizer):
    model = Actor.from_pretrained(policy, ArcherConfig()).model
    plain = play(model, tokenizer, TASK, [1, 2], generator=torch.Generator().manual_seed(0), max_new_tokens=3)
    chosen = play_reranked(
        model,
        tokenizer,
        TASK,
        [1, 2],
        candidates=1,
        choose=lambda prompts, sampled: [0] * len(prompts),
        generator=torch.Generator().manual_seed(0),
        max_new_tokens=3,
    )
    assert chosen == plain


def test_the_chosen_reply_is_said_and_the_game_goes_on_from_it(policy, tokenizer):
    actor = Actor.from_pretrained(policy, ArcherConfig())
    asked = []

    def least_token(prompts, sampled):
        asked.extend(
            (tuple(prompt), [reply.ids for reply in said]) for prompt, said in zip(prompts, sampled, strict=True)
        )
        return [min(range(3), key=lambda place: replies[place].ids[0]) for replies in sampled]

    played = play_reranked(
        actor.model,
        tokenizer,
        TASK,
        [1, 2],
        candidates=3,
        choose=least_token,
        generator=torch.Generator().manual_seed(0),
        max_new_tokens=3,
    )
    turns = [turn for one in played for turn in one.turns]
    assert len(turns) == 40
    assert all(len(replies) == 3 for _, replies in asked)
    chosen = [(prompt, tuple(min(replies, key=lambda reply: reply[0]))) for prompt, replies in asked]
    assert sorted((turn.prompt_ids, turn.completion_ids) for turn in turns) == sorted(chosen)
    # The model has read what was said, not what else it had sampled: or its log-probs would be of another transcript.
    transitions = [turn for one in played for turn in transitions_of(one, on_policy=True)]
    tokens = collate(build_rows(transitions, 10_000), torch.device("cpu"))
    with torch.no_grad():
        again = actor.logprobs(tokens, torch.ones(len(tokens.targets)))
    assert_close(torch.tensor([value for turn in turns for value in turn.logprobs]), again, atol=1e-3, rtol=1e-3)


def test_a_reply_is_worth_what_the_target_critic_says_of_the_whole_turn(policy):
    chai = Chai(policy, ChaiConfig(), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in chai.learner.target.trained().values():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    prompts = [(1, 2, 3), (4, 5, 6, 7)]
    sampled = [[said(8, 9), said(10)], [said(11, 12, 13), said(8)]]
    whole = [
        Transition("e", "", "", None, 0.0, True, prompt, tuple(reply.ids), tuple(reply.logprobs), 1.0, False)
        for prompt, replies in zip(prompts, sampled, strict=True)
        for reply in replies
    ]
    target = chai.learner.target
    with torch.no_grad(), target.reader.active():
        expected = target.q(target.reader.read(target.reader.index(whole), range(4), following=False)).amin(dim=0)
    assert expected.std() > 0.01
    assert_close(chai.judge(prompts, sampled), expected.view(2, 2), atol=1e-4, rtol=1e-4)


def test_it_prefers_the_reply_that_earned_more_and_its_actor_stays_as_it_was(policy):
    chai = Chai(policy, ChaiConfig(), seed=0)
    before = chai.actor.adapter_state()
    games = [game(seed, (20, 21), 1.0) if seed % 2 else game(seed, (30, 31), 0.0) for seed in range(8)]
    figures = chai.learn(games)
    worth = chai.judge([(1, 2, 3)], [[said(30, 31), said(20, 21)]])[0]
    assert worth[1] > worth[0] + 0.3
    assert "warms up" in str(figures["skipped"])
    assert all(torch.equal(weight, before[name]) for name, weight in chai.actor.adapter_state().items())


def test_only_the_newest_games_are_kept(policy):
    chai = Chai(policy, ChaiConfig(replay=3, critic_steps=1), seed=0)
    chai.learn([game(seed, (20, 21), float(seed)) for seed in range(5)])
    assert [one.seed for one in chai.kept] == [2, 3, 4]


def test_restored_it_goes_on_to_the_bit(policy, tokenizer, tmp_path):
    config = ChaiConfig(critic_steps=3)
    first, second = Chai(policy, config, seed=0), Chai(policy, config, seed=1)
    games = [game(seed, (20 + seed, 21), float(seed)) for seed in range(4)]
    first.learn(games)
    first.save(tmp_path)
    second.restore(tmp_path)
    for chai in (first, second):
        chai.learn([game(9, (40, 41), 2.0)])
    for mine, yours in ((first.learner.critic, second.learner.critic), (first.learner.target, second.learner.target)):
        assert all(torch.equal(weight, yours.state()[name]) for name, weight in mine.state().items())
    one, other = (
        chai.play(tokenizer, TASK, [1], generator=torch.Generator().manual_seed(0), max_new_tokens=3)
        for chai in (first, second)
    )
    assert one == other


def test_it_cannot_be_played_without_its_critic(policy):
    with pytest.raises(TypeError, match="plays by `play`"):
        _ = Chai(policy, ChaiConfig(), seed=0).player

"""What the critic learns from, what it is measured on, and that the two never meet."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue, turn
from tests.unit.archer.networks import READERS, Networks
from worker.archer.clock import PhaseClock
from worker.archer.descent import NonFiniteUpdateError
from worker.archer.diagnostics import rank_correlation
from worker.archer.dialogues import is_held_out
from worker.archer.episodes import episode_ends
from worker.archer.returns import steady_value
from worker.archer.types import TransitionError
from worker.archer.valuing import PROBES, Valuing

SHARE = 0.4
NAMES = [f"conversation {number}" for number in range(8)]
HELD = [name for name in NAMES if is_held_out(name, SHARE)]


@pytest.fixture
def valuing_of(model_folder, encoder_folder, config):
    def build(turns, *, say_anew=lambda states, each: [], **changes):
        networks = Networks(model_folder, encoder_folder, replace(config, probed_states=0, **changes))
        ones = torch.ones(len(turns))
        return Valuing(
            networks.critic, networks.target, networks.config, turns, episode_ends(turns), ones, 0 * ones, say_anew
        )

    return build


def learn(valuing):
    optimiser = torch.optim.AdamW(list(valuing.critic.trained().values()), lr=1e-2)
    return valuing.learn(optimiser, torch.Generator().manual_seed(0), PhaseClock())


def turns_with(held_out_reward, *, terminal=True):
    """Odd conversations end well; what the held-out ones earn is given."""
    return [
        each
        for number, name in enumerate(NAMES)
        for each in dialogue(name, (0.0, held_out_reward if name in HELD else number % 2 * 1.0), terminal=terminal)
    ]


@pytest.mark.parametrize("changes", READERS.values(), ids=READERS)
@pytest.mark.parametrize("value", ["weighted_mean", "expectile"])
def test_what_held_out_episodes_earned_moves_no_weight(make_learner, config, changes, value):
    chosen = replace(config, held_out_share=SHARE, value=value, warmup_updates=1, probed_states=0, **changes)
    chosen = replace(chosen, critic_steps=3, critic_batch_turns=4)
    after = []
    for reward in (0.3, 50.0):
        learner = make_learner(chosen)
        learner.update(turns_with(reward))
        after.append({**learner.critic.state(), **{f"target {k}": v for k, v in learner.target.state().items()}})
    assert 1 < len(HELD) < 7
    assert [name for name, weight in after[0].items() if not torch.equal(weight, after[1][name])] == []


def test_what_the_others_earned_does(valuing_of):
    poor, rich = valuing_of(turns_with(0.3), held_out_share=SHARE), valuing_of(turns_with(0.3), held_out_share=SHARE)
    rich.dialogues.reward.mul_(2.0)
    for valuing in (poor, rich):
        learn(valuing)
    found = rich.critic.state()
    different = [name for name, weight in poor.critic.state().items() if not torch.equal(weight, found[name])]
    assert any(name.startswith("heads.q") for name in different)


def test_the_episodes_of_one_conversation_are_held_out_together(valuing_of):
    turns = [replace(each, conversation=HELD[0]) for name in ("x", "y", "z") for each in dialogue(name, (0.0, 1.0))]
    assert not all(is_held_out(each.episode, SHARE) for each in turns)
    valuing = valuing_of([*dialogue("learned", (1.0,)), *turns], held_out_share=SHARE)
    assert valuing.held_out == [1, 2, 3, 4, 5, 6]


def test_the_figures_of_trust_are_of_the_held_out_turns(valuing_of):
    turns = [replace(each, reward=each.reward + place / 7) for place, each in enumerate(turns_with(0.3))]
    valuing = valuing_of(turns, held_out_share=SHARE, gamma=0.5)
    figures = learn(valuing)
    held = [place for place, each in enumerate(turns) if each.episode in HELD]
    assert figures.held_out_turns == len(held) == 2 * len(HELD)
    q = valuing.critic.q(valuing.features).amin(dim=0).detach()[held]
    # Two turns an episode, ended for good: G of the first is r + ½ r'.
    came = [each.reward + (0.0 if each.terminal else 0.5 * turns[place + 1].reward) for place, each in enumerate(turns)]
    came_held = torch.tensor([came[place] for place in held])
    assert figures.rank_correlation == pytest.approx(rank_correlation(q, came_held))
    residual = (came_held - q).var(correction=0) / came_held.var(correction=0)
    assert figures.held_out_explained_variance == pytest.approx(1 - residual.item(), rel=1e-3)


def test_without_held_out_episodes_they_are_of_all_turns(valuing_of):
    turns = turns_with(0.3)
    valuing = valuing_of(turns, gamma=0.0)
    figures = learn(valuing)
    q = valuing.critic.q(valuing.features).amin(dim=0).detach()
    assert figures.held_out_turns == 0
    assert figures.rank_correlation == pytest.approx(rank_correlation(q, torch.tensor([each.reward for each in turns])))


def test_if_all_episodes_are_held_out_the_update_says_so(valuing_of):
    with pytest.raises(TransitionError, match="All episodes are held out"):
        learn(valuing_of(dialogue(HELD[0], (0.0, 1.0)), held_out_share=SHARE))


def test_the_advantage_is_that_of_the_least_members(valuing_of):
    valuing = valuing_of(turns_with(0.3))
    learn(valuing)
    q, v = valuing.critic.q(valuing.features), valuing.critic.v(valuing.features)
    assert_close(valuing.advantage(), (torch.minimum(q[0], q[1]) - torch.minimum(v[0], v[1])).detach())
    assert_close(valuing.advantage_of(valuing.transitions), valuing.advantage(), rtol=1e-3, atol=1e-4)


def test_an_observed_advantage_is_what_came_less_the_members_mean_v(valuing_of):
    turns = turns_with(0.5, terminal=False)
    valuing = valuing_of(turns, actor_advantage="observed", actor_lam=0.5)
    valuing.dialogues = valuing.dialogues._replace(trace=torch.full((len(turns),), 0.8))
    learn(valuing)
    found, features = valuing.advantage(), valuing.features
    v = valuing.critic.v(features).mean(dim=0)
    after = valuing.critic.v_following(features).mean(dim=0)
    gamma = valuing.config.gamma
    last = turns[1].reward + gamma * after[1] - v[1]
    assert found[1].item() == pytest.approx(last.item(), rel=1e-4, abs=1e-5)
    first = turns[0].reward + gamma * after[0] - v[0] + gamma * 0.5 * 0.8 * last
    assert found[0].item() == pytest.approx(first.item(), rel=1e-4, abs=1e-5)
    # The same replies, had nobody said them, are worth what the critic makes of them.
    judged = valuing.critic.q(features).amin(dim=0) - valuing.critic.v(features).amin(dim=0)
    torch.testing.assert_close(valuing.advantage_of(turns), judged, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("turns", [turns_with(0.5), turns_with(50.0)], ids=["near", "far"])
def test_the_first_zero_of_the_values_is_of_the_turns_that_are_learned_from(valuing_of, turns):
    cut = [replace(each, terminal=False) for each in turns]
    valuing = valuing_of(cut, held_out_share=SHARE, critic_steps=1)
    valuing.critic.heads.is_calibrated.fill_(False)  # as a critic is before its first turns
    learn(valuing)
    others = [each for each in cut if each.episode not in HELD]
    ends = episode_ends(others)
    expected = steady_value([each.reward for each in others], ends, [float(end) for end in ends], valuing.config.gamma)
    assert valuing.critic.heads.shift.item() == pytest.approx(expected, rel=1e-4)


def test_states_are_probed_with_replies_of_the_policy_and_only_where_it_may_learn(valuing_of):
    asked = []

    def say_anew(states, each):
        asked.append((states, each))
        return [replace(state, utterance=f"reply {place}") for state in states for place in range(each)]

    turns = [*dialogue("a", (0.0, 1.0, 2.0)), *dialogue("b", (1.0,), trains_actor=False)]
    valuing = valuing_of(turns, say_anew=say_anew)
    valuing.config = replace(valuing.config, probed_states=2)
    figures = learn(valuing)
    ((states, each),) = asked
    assert each == PROBES
    assert len({state.observation for state in states}) == 2
    assert all(state.episode == "a" for state in states)
    said = say_anew(states, each)
    with torch.no_grad():
        features = valuing.critic.reader.read(valuing.critic.reader.index(said), range(len(said)), following=False)
        q = valuing.critic.q(features).amin(dim=0).view(2, PROBES)
    expected = q.std(dim=1, correction=0).mean() / q.mean(dim=1).std(correction=0)
    assert figures.advantage_spread == pytest.approx(expected.item(), rel=1e-3)


def test_unprobed_states_have_no_spread(valuing_of):
    assert learn(valuing_of(turns_with(0.3))).advantage_spread is None


def test_returns_beyond_a_float_are_refused_by_episode_and_leave_the_unit(valuing_of):
    valuing = valuing_of([*dialogue("huge", (3e38, 3e38)), *dialogue("fine", (1.0,))], gamma=0.95)
    valuing.critic.heads.is_calibrated.fill_(False)
    before = valuing.critic.state()
    with pytest.raises(NonFiniteUpdateError, match="returns of episodes huge are not finite"):
        learn(valuing)
    assert all(torch.equal(tensor, before[name]) for name, tensor in valuing.critic.state().items())


def test_a_cut_episode_is_measured_with_what_the_target_expects_after_it(valuing_of):
    cut = turn(episode="c", reward=1.0, terminal=False, next_observation="and then", next_prompt_ids=(5, 6))
    valuing = valuing_of([cut, *dialogue("d", (0.0,)), *dialogue("e", (3.0,))], gamma=0.5)
    with torch.no_grad():
        after = valuing.target.v_following(valuing.target.reader.read(valuing.index, [0, 1, 2], following=True))[:, 0]
        before = valuing.critic.q(valuing.critic.reader.read(valuing.index, [0, 1, 2], following=False)).amin(dim=0)
    came = torch.tensor([1.0 + 0.5 * after.min().item(), 0.0, 3.0])
    explained = 1 - (came - before).var(correction=0) / came.var(correction=0)
    assert learn(valuing).explained_variance_before == pytest.approx(explained.item(), rel=1e-3)

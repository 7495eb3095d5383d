"""What an update's turns are worth: trains the critic on them, measures it, and gives advantages; knows no actor."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.advantages import observed_advantage, pessimistic_advantage
from worker.archer.clock import PhaseClock
from worker.archer.config import ArcherConfig
from worker.archer.contrasts import Contrasts
from worker.archer.critic import Critic
from worker.archer.critic_training import Lessons, train_critic
from worker.archer.descent import NonFiniteUpdateError
from worker.archer.diagnostics import advantage_spread, calibration_error, positive_share, rank_correlation, twin_gap
from worker.archer.dialogues import build_dialogues, episode_places, is_held_out
from worker.archer.processes import ALONE, Processes
from worker.archer.returns import explained_variance, monte_carlo_returns, steady_value
from worker.archer.target import TargetCritic
from worker.archer.traces import mean_trace_length
from worker.archer.types import CriticFigures, Demonstration, Features, Transition, TransitionError

SayAnew = Callable[[Sequence[Transition], int], list[Transition]]
"""So many utterances of the policy as it is, for each of these turns' observations."""

PROBES = 4
"""Utterances sampled at a probed state."""
CALIBRATION_BINS = 10


class Valuing:
    """One update's turns, read once, and the critic that judges them."""

    def __init__(
        self,
        critic: Critic,
        target: TargetCritic,
        config: ArcherConfig,
        transitions: Sequence[Transition],
        ends: Sequence[bool],
        weight: Float[Tensor, "turns"],
        trace: Float[Tensor, "turns"],
        say_anew: SayAnew,
        demonstrations: Sequence[Demonstration] = (),
    ) -> None:
        self.critic = critic
        self.target = target
        self.config = config
        self.transitions = transitions
        self.ends = ends
        self.dialogues = build_dialogues(transitions, ends, weight, trace)
        self.say_anew = say_anew
        self.index = critic.reader.index(transitions)
        self.everything = list(range(len(transitions)))
        self.held_out = [
            turn for turn in self.everything if is_held_out(transitions[turn].held_out_by, config.held_out_share)
        ]
        self.features: Features | None = None
        contradicting = [demonstration for demonstration in demonstrations if demonstration.contradicts]
        self.contrasts = Contrasts(critic.reader, contradicting, config.held_out_share) if contradicting else None
        self.lead_before: Tensor | None = None

    def learn(
        self,
        optimiser: torch.optim.Optimizer,
        generator: torch.Generator,
        clock: PhaseClock,
        processes: Processes = ALONE,
    ) -> CriticFigures:
        """Train Q and V on the episodes that are not held out; then say how good they are on those that are."""
        held_out = set(self.held_out)
        episodes = [places for places in episode_places(self.ends) if places[0] not in held_out]
        if not episodes:
            raise TransitionError(
                "All episodes are held out from the critic: give more of them, or lower held_out_share."
            )
        learned = [turn for places in episodes for turn in places]
        with clock.phase("encode"):
            before = self._read(self.target if self.critic.reader.trains else self.critic, following=True)
            if not self.critic.reader.trains:
                self.features = before
            if self.contrasts is not None:
                self.contrasts.keep(self.critic)
        rewards = [turn.reward for turn in self.transitions]
        bootstraps = self.dialogues.bootstraps
        if self.critic.heads.is_calibrated:
            after = (self.target.v_following(before).amin(dim=0) * bootstraps).tolist()
        else:
            steady = steady_value(
                [rewards[turn] for turn in learned],
                [self.ends[turn] for turn in learned],
                bootstraps[learned].tolist(),
                self.config.gamma,
            )
            after = (steady * bootstraps).tolist()
        observed = monte_carlo_returns(rewards, self.ends, after, self.config.gamma)
        returns = self.dialogues.reward.new_tensor(observed)
        if not returns.isfinite().all():
            named = dict.fromkeys(self.transitions[turn].episode for turn in (~returns.isfinite()).nonzero().flatten())
            raise NonFiniteUpdateError(f"The returns of episodes {', '.join(named)} are not finite.")
        self.critic.heads.calibrate(Features(*(column[learned] for column in before)), returns[learned])
        self.target.copy_units(self.critic)
        with torch.no_grad():
            q_before = self.critic.q(before).amin(dim=0)
        self.lead_before = self.lead()
        lessons = Lessons(
            self.dialogues,
            self.index,
            self.features,
            episodes,
            [turn.episode for turn in self.transitions],
            self._fresh_values if self.config.value == "sampled" else None,
            self.contrasts,
        )
        with clock.phase("critic"):
            steps = train_critic(self.critic, self.target, optimiser, lessons, self.config, generator, processes)
        with clock.phase("encode"):
            if self.critic.reader.trains:
                self.features = self._read(self.critic, following=True)
        assert self.features is not None
        with torch.no_grad():
            q = self.critic.q(self.features)
        advantage = self.advantage()
        judged = self.held_out or self.everything
        q_judged, came = q[:, judged].amin(dim=0), returns[judged]
        with clock.phase("probe"):
            spread = self._probe(generator)
        return CriticFigures(
            steps=len(steps),
            loss=steps[-1].loss,
            grad_norm=sum(step.grad_norm for step in steps) / len(steps),
            explained_variance_before=explained_variance(q_before, returns),
            explained_variance=explained_variance(q.amin(dim=0), returns),
            advantage_mean=advantage.mean().item(),
            advantage_sd=advantage.std(correction=0).item(),
            advantage_positive_share=positive_share(advantage),
            held_out_turns=len(self.held_out),
            rank_correlation=rank_correlation(q_judged, came),
            held_out_explained_variance=explained_variance(q_judged, came),
            calibration_error=calibration_error(q_judged, came, CALIBRATION_BINS),
            twin_gap=twin_gap(q[:, judged]),
            advantage_spread=spread,
            mean_trace_length=mean_trace_length(self.config.lam * self.dialogues.trace, self.dialogues.ends).item(),
        )

    @torch.no_grad()
    def advantage(self) -> Float[Tensor, "turns"]:
        """Of each logged turn, after `learn`: minᵢ Qᵢ - minᵢ Vᵢ, or what came of it less the members' mean V."""
        assert self.features is not None, "the critic has not learned yet"
        if self.config.actor_advantage == "observed":
            value, after = self.critic.v(self.features).mean(dim=0), self.critic.v_following(self.features).mean(dim=0)
            reward, bootstraps, ends, _, trace = self.dialogues
            trace = self.config.actor_lam * trace
            return observed_advantage(reward, value, after, bootstraps, ends, trace, self.config.gamma)
        return pessimistic_advantage(self.critic.q(self.features), self.critic.v(self.features))

    @torch.no_grad()
    def advantage_of(self, said: Sequence[Transition]) -> Float[Tensor, "turns"]:
        """The same of turns that were never logged."""
        features = self._read_others(self.critic, said)
        return pessimistic_advantage(self.critic.q(features), self.critic.v(features))

    def lead(self) -> Float[Tensor, "pairs"] | None:
        """By how much Q puts each demonstrated reply above what was said instead; None where none contradicts."""
        return None if self.contrasts is None else self.contrasts.lead(self.critic)

    def count_cut(self) -> int:
        """What the critic could not read whole."""
        of_demonstrations = 0 if self.contrasts is None else self.critic.reader.count_cut(self.contrasts.index)
        return self.critic.reader.count_cut(self.index) + of_demonstrations

    @torch.no_grad()
    def _read(self, critic: Critic, *, following: bool) -> Features:
        with critic.reader.active():
            return critic.reader.read(self.index, self.everything, following=following)

    @torch.no_grad()
    def _read_others(self, critic: Critic, turns: Sequence[Transition]) -> Features:
        with critic.reader.active():
            return critic.reader.read(critic.reader.index(turns), range(len(turns)), following=False)

    @torch.no_grad()
    def _fresh_values(self, turns: Sequence[int]) -> Float[Tensor, "ensemble turns"]:
        """Q̄ of what the policy says now: the mean that V is, one sample a state. Zhou et al. 2024, J_V."""
        said = self.say_anew([self.transitions[turn] for turn in turns], 1)
        return self.target.q(self._read_others(self.target, said))

    @torch.no_grad()
    def _probe(self, generator: torch.Generator) -> float | None:
        """How much the critic hears of the reply, at a few states that the actor may learn from."""
        able = [turn for turn in self.transitions if turn.trains_actor]
        if not able or self.config.probed_states < 2:
            return None
        picked = torch.randperm(len(able), generator=generator)[: self.config.probed_states].tolist()
        said = self.say_anew([able[place] for place in picked], PROBES)
        q = self.critic.q(self._read_others(self.critic, said)).amin(dim=0)
        return advantage_spread(q.view(-1, PROBES))

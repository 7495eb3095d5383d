"""One update of actor and critic from logged turns, and the state that outlives it; knows no rows, engine or queue."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.actor import Actor
from worker.archer.actor_training import ActorTraining
from worker.archer.advantages import best_candidates, normalise_advantages
from worker.archer.checkpoint import actor_architecture, critic_architecture, read_checkpoint, write_checkpoint
from worker.archer.clock import PhaseClock, peak_memory_bytes
from worker.archer.cloning import Cloning
from worker.archer.config import ArcherConfig
from worker.archer.critic import Critic
from worker.archer.demonstration_figures import describe_demonstrations
from worker.archer.descent import NonFiniteUpdateError
from worker.archer.episodes import episode_ends, reason_to_leave_actor
from worker.archer.fresh import Decode, say_anew
from worker.archer.importance import effective_sample_size
from worker.archer.processes import ALONE, Processes
from worker.archer.spoken import Spoken, read_spoken
from worker.archer.target import TargetCritic
from worker.archer.text_reader import TextReader
from worker.archer.token_baseline import subtract_baseline
from worker.archer.token_reader import TokenReader
from worker.archer.types import ActorFigures, CriticFigures, Demonstration, Figures, Transition, TransitionError
from worker.archer.valuing import Valuing

__all__ = ["Learner", "NonFiniteUpdateError"]

# An advantage that varies by less than this share of the rewards' scale is rounding, not an instruction.
FLAT_SHARE = 1e-4
# Share of an update's progress that is over when the critic is trained.
CRITIC_PROGRESS = 0.2


def leap_config(config: ArcherConfig) -> ArcherConfig:
    """The same, of an update whose actor imitates the best fresh replies, as in Bai et al. 2025 (Digi-Q).

    What came of a reply says little after few conversations; which of several replies is best, a critic that has just
    passed its gate may know of states it never saw. Followed for longer, its errors are what is learned.
    """
    return dataclasses.replace(
        config,
        actor_objective="imitation",
        actor_utterances="fresh",
        actor_epochs=config.leap_epochs,
        token_baseline=False,
    )


def ignore_progress(fraction: float) -> None:
    """Progress that nobody watches."""


class Learner:
    """An actor, a critic with its targets, and their optimisers."""

    def __init__(
        self,
        actor: Actor,
        critic: Critic,
        config: ArcherConfig,
        *,
        decode: Decode | None = None,
        seed: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        if decode is None and isinstance(critic.reader, TextReader):
            raise ValueError("A critic that reads texts needs decode, to read what the policy says now.")
        reader = critic.reader
        if processes.count > 1 and isinstance(reader, TokenReader) and reader.trains and not reader.is_joint:
            # Replies take as many passes as their lengths ask for, and a sharded model wants as many of each process.
            raise ValueError("Several processes can train a critic that reads with the policy's model only if joint.")
        self.actor = actor
        self.critic = critic
        self.config = config
        self.decode = decode
        self.processes = processes
        """Each has this same learner and is given the same turns."""
        self.target = TargetCritic(critic)
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0
        """How often the critic learned; a warm-up counts them."""
        self.is_trusted = False
        """Whether the critic ever passed critic_gate. It stays so: few conversations are held out of one update, and a
        gate that is asked again each time stops the actor on noise."""
        self.has_leapt = False
        """Whether the one leap that `leap_epochs` asks for was taken."""
        groups = [{"params": list(critic.heads.parameters()), "lr": config.critic_lr}]
        if critic.reader.trains:
            groups.append({"params": list(critic.reader.trained().values()), "lr": config.reader_lr})
        self.critic_optimiser = torch.optim.AdamW(groups, weight_decay=config.critic_weight_decay)
        # No decay on the LoRA: a pull to zero is a pull of a promoted adapter back to its base.
        self.actor_optimiser = torch.optim.AdamW(actor.parameters(), lr=config.actor_lr, weight_decay=0.0)

    def update(
        self,
        transitions: Sequence[Transition],
        demonstrations: Sequence[Demonstration] = (),
        on_progress: Callable[[float], None] = ignore_progress,
    ) -> Figures:
        """Learn from the turns: first the critic, then, if they say anything about replies, the actor.

        Demonstrations join the steps of both, a leap's too. Where the actor has nothing else to follow, or may not
        trust the critic yet, it imitates them alone: for what a human said no critic need vouch.
        """
        if not transitions:
            raise TransitionError("No turns were given: there is nothing to learn from.")
        self._check_vocabulary(transitions, demonstrations)
        if self.config.demonstration_weight == 0:
            demonstrations = ()
        able = [each for each in demonstrations if len(each.completion_ids) <= self.config.max_completion_tokens]
        given = transitions
        transitions = [self._without_actor_if_long(transition) for transition in given]
        clock = PhaseClock()
        ends = episode_ends(transitions)
        with clock.phase("start log-probs"):
            spoken = read_spoken(self.actor, transitions, self.config)
        cloning = None
        if able:
            with clock.phase("demonstrations"):
                cloning = Cloning(self.actor, able, self.config, self.processes)
        weight = spoken.ratio().clamp(max=self.config.max_importance_ratio)
        trace = spoken.trace(self.config)
        valuing = Valuing(self.critic, self.target, self.config, transitions, ends, weight, trace, self._say_anew, able)
        critic_figures = valuing.learn(self.critic_optimiser, self.generator, clock, self.processes)
        critic_figures = self.processes.same(critic_figures)
        self.updates += 1
        on_progress(CRITIC_PROGRESS)

        skipped = reason_to_leave_actor(transitions, ends) or self._reason_to_wait(critic_figures)
        leaps = self.config.leap_epochs > 0 and not self.has_leapt
        actor_figures, only_demonstrations = None, None

        def on_step(share: float) -> None:
            on_progress(CRITIC_PROGRESS + (1 - CRITIC_PROGRESS) * share)

        if skipped is None:
            with clock.phase("actor"):
                config = leap_config(self.config) if leaps else self.config
                actor_figures, skipped = self._teach_actor(spoken, valuing, config, cloning, on_step)
        if actor_figures is None and cloning is not None:
            only_demonstrations = skipped
            with clock.phase("actor"):
                actor_figures, skipped = self._imitate(spoken, cloning, on_step)
        leapt = leaps and skipped is None and only_demonstrations is None
        self.has_leapt = self.has_leapt or leapt
        demonstrated = None
        if demonstrations:
            with clock.phase("demonstrations"):
                demonstrated = describe_demonstrations(len(demonstrations), cloning, valuing, only_demonstrations)
        on_progress(1.0)
        seconds = clock.total
        return Figures(
            turns=len(transitions),
            actor_turns=sum(transition.trains_actor for transition in transitions),
            episodes=sum(ends),
            rows=len(spoken.rows),
            prompts_cut=sum(t.trains_actor and len(t.prompt_ids) > self.config.max_prompt_tokens for t in transitions),
            replies_too_long=sum(t.trains_actor for t in given) - sum(t.trains_actor for t in transitions),
            texts_cut=valuing.count_cut(),
            critic=critic_figures,
            actor=actor_figures,
            demonstrations=self.processes.same(demonstrated),
            actor_leapt=leapt,
            actor_skipped=skipped,
            tokens_per_second=actor_figures.tokens_trained / seconds if actor_figures else 0.0,
            seconds={**clock.seconds, "total": seconds},
            peak_memory_bytes=peak_memory_bytes(self.actor.device),
        )

    def _check_vocabulary(self, transitions: Sequence[Transition], demonstrations: Sequence[Demonstration]) -> None:
        for turn in transitions:
            self.actor.check_vocabulary(turn.prompt_ids + turn.completion_ids + (turn.next_prompt_ids or ()))
        for shown in demonstrations:
            self.actor.check_vocabulary(shown.prompt_ids + shown.completion_ids + shown.instead_ids)

    def _without_actor_if_long(self, transition: Transition) -> Transition:
        """A reply beyond the bound would decide how much memory an update takes: the critic alone reads it."""
        if transition.trains_actor and len(transition.completion_ids) > self.config.max_completion_tokens:
            return dataclasses.replace(transition, trains_actor=False)
        return transition

    def _reason_to_wait(self, figures: CriticFigures) -> str | None:
        """Why the actor may not trust the critic yet; None if it may."""
        if self.updates <= self.config.warmup_updates:
            return f"the critic warms up: update {self.updates} of {self.config.warmup_updates}"
        gate = self.config.critic_gate
        if gate is None or self.is_trusted:
            return None
        found = figures.rank_correlation
        if found is None:
            return "no two held-out turns had different returns, so nothing shows that the critic can be trusted"
        if found < gate:
            return (
                f"the critic cannot be trusted yet: on held-out conversations its values have a rank correlation of "
                f"{found:.2f} with what came, and critic_gate is {gate}"
            )
        self.is_trusted = True
        return None

    def _teach_actor(
        self,
        spoken: Spoken,
        valuing: Valuing,
        config: ArcherConfig,
        cloning: Cloning | None,
        on_progress: Callable[[float], None],
    ) -> tuple[ActorFigures | None, str | None]:
        """The actor's figures, and why its adapter is as it was, if it is. `config` is the learner's, or a leap's."""
        if config.actor_utterances == "fresh":
            said, advantage = self._fresh_lessons(spoken.transitions, valuing, config)
            spoken = read_spoken(self.actor, said, config)
        else:
            advantage = self.processes.same(valuing.advantage())
        transitions, rows, table, _ = spoken
        trains = torch.tensor([transition.trains_actor for transition in transitions], device=advantage.device)
        flat_below = FLAT_SHARE * self.critic.heads.scale.item()
        if not rows:
            return None, "no reply that was sampled is better than the critic expected"
        # What is imitated was chosen among others: that the chosen are equally good says nothing against them.
        if config.actor_objective != "imitation" and advantage[trains].std(correction=0) < flat_below:
            return None, "the critic values all replies alike"
        if config.normalise_advantages and config.actor_objective != "imitation":
            advantage[trains] = normalise_advantages(advantage[trains], flat_below, config.max_advantage)
        stale = torch.tensor([not transition.on_policy for transition in transitions], device=advantage.device)
        advantage[stale & (advantage < 0)] *= config.stale_negative_weight
        self._scale_step(spoken)
        of_token = advantage[table.turn]
        if config.token_baseline:
            assert isinstance(self.critic.reader, TokenReader)  # the config saw to it
            of_token = subtract_baseline(self.critic.reader, rows, of_token, config, self.generator)
        return self._take_steps(spoken, of_token, config, cloning, on_progress)

    def _imitate(
        self, spoken: Spoken, cloning: Cloning, on_progress: Callable[[float], None]
    ) -> tuple[ActorFigures, str | None]:
        """The same where demonstrations are all that there is to follow."""
        if not spoken.rows:
            # How far the policy goes is measured on what it says; where none of it was logged, on what it says now.
            asked = cloning.turns[: self.config.actor_batch_turns]
            spoken = read_spoken(self.actor, self._say_anew(asked, 1), self.config)
        for group in self.actor_optimiser.param_groups:
            group["lr"] = self.config.actor_lr
        return self._take_steps(spoken, None, self.config, cloning, on_progress)

    def _take_steps(
        self,
        spoken: Spoken,
        of_token: Float[Tensor, "tokens"] | None,
        config: ArcherConfig,
        cloning: Cloning | None,
        on_progress: Callable[[float], None],
    ) -> tuple[ActorFigures, str | None]:
        transitions, rows, table, start = spoken
        training = ActorTraining(
            self.actor, self.actor_optimiser, table, start, of_token, config, self.processes, cloning
        )
        figures = training.run(rows, [turn.episode for turn in transitions], self.generator, on_progress)
        if figures.steps_kept == 0:
            return figures, "its first step spent the whole KL budget and was undone; lower actor_lr"
        return figures, None

    def _fresh_lessons(
        self, transitions: Sequence[Transition], valuing: Valuing, config: ArcherConfig
    ) -> tuple[list[Transition], Float[Tensor, "turns"]]:
        """Replies of the policy as it is now at logged states, and what the critic makes of them.

        To be imitated, the best at each state; else one at as many states as the actor's passes are of turns.
        """
        able = [turn for turn in transitions if turn.trains_actor]
        if config.actor_objective == "imitation":
            said = self._say_anew(able, config.candidates)
            advantage = self.processes.same(valuing.advantage_of(said))
            least = FLAT_SHARE * self.critic.heads.scale.item()
            chosen = best_candidates(advantage.view(-1, config.candidates), least).flatten().nonzero().flatten()
            return [said[place] for place in chosen.tolist()], advantage[chosen]
        wanted = config.actor_batch_turns * config.actor_epochs
        states = [able[place] for place in torch.randint(len(able), (wanted,), generator=self.generator).tolist()]
        said = self._say_anew(states, 1)
        return said, self.processes.same(valuing.advantage_of(said))

    def _say_anew(self, states: Sequence[Transition], each: int) -> list[Transition]:
        said = say_anew(self.actor, states, self.config, self.generator, self.decode, each=each)
        return self.processes.same(said)

    def _scale_step(self, spoken: Spoken) -> None:
        """Set the actor's learning rate for this update."""
        share = 1.0
        if self.config.scale_lr_by_ess:
            turns = torch.unique(spoken.table.turn)
            weight = spoken.ratio()[turns].clamp(max=self.config.max_importance_ratio)
            share = effective_sample_size(weight).item() / len(turns)
        for group in self.actor_optimiser.param_groups:
            group["lr"] = self.config.actor_lr * share

    # What outlives an update.

    def save(self, path: Path) -> None:
        """Write what an equal learner needs to go on to the bit: networks, optimisers, random state.

        Every process calls it, since they bring a frozen model together to take its fingerprint; the main one writes.
        """
        architecture = critic_architecture(self.critic) | actor_architecture(self.actor)
        if not self.processes.is_main:
            return
        state = {
            "critic": {
                "online": self.critic.state(),
                "target": self.target.state(),
                "optimiser": self.critic_optimiser.state_dict(),
                "updates": self.updates,
                "is_trusted": self.is_trusted,
                "has_leapt": self.has_leapt,
            },
            "actor": {"adapter": self.actor.adapter_state(), "optimiser": self.actor_optimiser.state_dict()},
            "generator": self.generator.get_state(),
        }
        write_checkpoint(path, architecture, state)

    def restore_critic(self, path: Path) -> None:
        """Take critic, targets and their optimiser from a checkpoint; the actor stays what it was built from."""
        self._load_critic(read_checkpoint(path, critic_architecture(self.critic)))

    def restore(self, path: Path) -> None:
        """Take everything, to go on as if never stopped."""
        state = read_checkpoint(path, critic_architecture(self.critic) | actor_architecture(self.actor))
        self._load_critic(state)
        self.actor.load_adapter_state(state["actor"]["adapter"])
        self.actor_optimiser.load_state_dict(state["actor"]["optimiser"])
        self.generator.set_state(state["generator"])

    def _load_critic(self, state: dict[str, Any]) -> None:
        # What never moves is not in the file; its fingerprint was compared instead.
        self.critic.load_state(state["critic"]["online"])
        self.target.load_state(state["critic"]["target"])
        pace = [(group["lr"], group["weight_decay"]) for group in self.critic_optimiser.param_groups]
        self.critic_optimiser.load_state_dict(state["critic"]["optimiser"])
        for group, (lr, decay) in zip(self.critic_optimiser.param_groups, pace, strict=True):
            group["lr"], group["weight_decay"] = lr, decay  # the config's, which may be another since
        self.updates = state["critic"]["updates"]
        self.is_trusted = state["critic"]["is_trusted"]
        self.has_leapt = state["critic"].get("has_leapt", False)  # a checkpoint of before leaps has not

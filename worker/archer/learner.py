"""One update of actor and critic from logged turns, and the state that outlives it; knows no rows, engine or queue."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.actor import Actor
from worker.archer.actor_training import ActorTraining
from worker.archer.advantages import normalise_advantages, pessimistic_advantage
from worker.archer.checkpoint import actor_architecture, critic_architecture, read_checkpoint, write_checkpoint
from worker.archer.clock import PhaseClock, peak_memory_bytes
from worker.archer.config import ArcherConfig
from worker.archer.critic import DoubleCritic
from worker.archer.critic_training import train_critic
from worker.archer.descent import NonFiniteUpdateError
from worker.archer.episodes import episode_ends, index_texts, reason_to_leave_actor
from worker.archer.importance import turn_ratio
from worker.archer.returns import explained_variance, monte_carlo_returns
from worker.archer.rows import Row, build_rows, build_table, collate, micro_batches
from worker.archer.target import TargetCritic
from worker.archer.types import CriticFigures, Figures, TokenTable, Transition, TransitionError

__all__ = ["Learner", "NonFiniteUpdateError"]

# An advantage that varies by less than this share of the rewards' scale is rounding, not an instruction.
FLAT_SHARE = 1e-4
# Share of an update's progress that is over when the critic is trained.
CRITIC_PROGRESS = 0.2


def ignore_progress(fraction: float) -> None:
    """Progress that nobody watches."""


class Learner:
    """An actor, a critic with its targets, and their optimisers."""

    def __init__(self, actor: Actor, critic: DoubleCritic, config: ArcherConfig, *, seed: int = 0) -> None:
        self.actor = actor
        self.critic = critic
        self.config = config
        self.target = TargetCritic(critic)
        self.generator = torch.Generator().manual_seed(seed)
        groups = [{"params": list(critic.heads.parameters()), "lr": config.critic_lr}]
        if critic.trains_encoder:
            groups.append({"params": list(critic.encoder.parameters()), "lr": config.encoder_lr})
        self.critic_optimiser = torch.optim.AdamW(groups, weight_decay=config.critic_weight_decay)
        # No decay on the LoRA: a pull to zero is a pull of a promoted adapter back to its base.
        self.actor_optimiser = torch.optim.AdamW(actor.parameters(), lr=config.actor_lr, weight_decay=0.0)

    def update(
        self, transitions: Sequence[Transition], on_progress: Callable[[float], None] = ignore_progress
    ) -> Figures:
        """Learn from the turns: first the critic, then, if they say anything about replies, the actor."""
        if not transitions:
            raise TransitionError("No turns were given: there is nothing to learn from.")
        for transition in transitions:
            self.actor.check_vocabulary(transition.prompt_ids + transition.completion_ids)
        clock = PhaseClock()
        ends = episode_ends(transitions)
        rows = build_rows(transitions, self.config.max_prompt_tokens)
        table = build_table(transitions, self.actor.device)
        with clock.phase("start log-probs"):
            start = self.start_logprobs(rows, table, transitions)
        ratio = turn_ratio(start, table.behaviour_logprobs, table.turn, len(transitions))
        weight = ratio.clamp(max=self.config.max_importance_ratio)
        critic_figures, advantage, texts_cut = self._learn_values(transitions, ends, weight, clock)
        on_progress(CRITIC_PROGRESS)

        trains = torch.tensor([transition.trains_actor for transition in transitions], device=advantage.device)
        skipped = reason_to_leave_actor(transitions, ends)
        if skipped is None:
            flat_below = FLAT_SHARE * self.critic.heads.scale.item()
            advantage[trains] = normalise_advantages(advantage[trains], flat_below, self.config.max_advantage)
            if not advantage[trains].any():
                skipped = "the critic values all replies alike"
        actor_figures = None
        if skipped is None:
            training = ActorTraining(self.actor, self.actor_optimiser, table, start, advantage, self.config)
            with clock.phase("actor"):
                actor_figures = training.run(
                    rows,
                    [transition.episode for transition in transitions],
                    self.generator,
                    lambda share: on_progress(CRITIC_PROGRESS + (1 - CRITIC_PROGRESS) * share),
                )
            if actor_figures.steps_kept == 0:
                skipped = "its first step spent the whole KL budget and was undone; lower actor_lr"
        on_progress(1.0)
        seconds = clock.total
        return Figures(
            turns=len(transitions),
            actor_turns=int(trains.sum()),
            episodes=sum(ends),
            rows=len(rows),
            prompts_cut=sum(t.trains_actor and len(t.prompt_ids) > self.config.max_prompt_tokens for t in transitions),
            texts_cut=texts_cut,
            critic=critic_figures,
            actor=actor_figures,
            actor_skipped=skipped,
            tokens_per_second=actor_figures.tokens_trained / seconds if actor_figures else 0.0,
            seconds={**clock.seconds, "total": seconds},
            peak_memory_bytes=peak_memory_bytes(self.actor.device),
        )

    @torch.no_grad()
    def start_logprobs(
        self, rows: Sequence[Row], table: TokenTable, transitions: Sequence[Transition]
    ) -> Float[Tensor, "tokens"]:
        """log π₀ of each trained token: what was logged where π₀ itself spoke, computed where an older policy did."""
        start = table.behaviour_logprobs.clone()
        turn = table.turn.tolist()
        older = [row for row in rows if not all(transitions[turn[span.table]].on_policy for span in row.spans)]
        for rows_together in micro_batches(older, self.config.max_tokens_per_microbatch):
            tokens = collate(rows_together, self.actor.device)
            start[tokens.table] = self.actor.logprobs(tokens, table.temperature[tokens.table])
        return start

    def _learn_values(
        self, transitions: Sequence[Transition], ends: Sequence[bool], weight: Float[Tensor, "turns"], clock: PhaseClock
    ) -> tuple[CriticFigures, Float[Tensor, "turns"], int]:
        """Train Q and V on the turns; then the advantage of each, and how many texts the encoder cut."""
        texts, turns = index_texts(transitions, weight, self.actor.device)
        with clock.phase("encode"), torch.no_grad():
            features = self.critic.encode(texts)
            texts_cut = self.critic.encoder.count_cut(texts)
        after = (self.target.v(features[turns.next_observation]).amin(dim=0) * turns.bootstraps).tolist()
        observed = monte_carlo_returns([t.reward for t in transitions], ends, after, self.config.gamma)
        returns = turns.reward.new_tensor(observed)
        self.critic.heads.calibrate(returns)
        self.target.copy_units(self.critic)
        with torch.no_grad():
            before = self.critic.q(features[turns.observation], features[turns.utterance]).amin(dim=0)
        with clock.phase("critic"):
            steps = train_critic(
                self.critic,
                self.target,
                self.critic_optimiser,
                texts,
                turns,
                None if self.critic.trains_encoder else features,
                self.config,
                self.generator,
                [transition.episode for transition in transitions],
            )
        with clock.phase("encode"), torch.no_grad():
            features = self.critic.encode(texts) if self.critic.trains_encoder else features
            q = self.critic.q(features[turns.observation], features[turns.utterance])
            advantage = pessimistic_advantage(q, self.critic.v(features[turns.observation]))
        figures = CriticFigures(
            steps=len(steps),
            loss=steps[-1].loss,
            grad_norm=sum(step.grad_norm for step in steps) / len(steps),
            explained_variance_before=explained_variance(before, returns),
            explained_variance=explained_variance(q.amin(dim=0), returns),
            advantage_mean=advantage.mean().item(),
            advantage_sd=advantage.std(correction=0).item(),
            advantage_positive_share=(advantage > 0).float().mean().item(),
        )
        return figures, advantage, texts_cut

    # What outlives an update.

    def save(self, path: Path) -> None:
        """Write what an equal learner needs to go on to the bit: networks, optimisers, random state."""
        state = {
            "critic": {
                "online": _trained(self.critic),
                "target": _trained(self.target.network),
                "optimiser": self.critic_optimiser.state_dict(),
            },
            "actor": {"adapter": self.actor.adapter_state(), "optimiser": self.actor_optimiser.state_dict()},
            "generator": self.generator.get_state(),
        }
        write_checkpoint(path, critic_architecture(self.critic) | actor_architecture(self.actor), state)

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

    def _load_critic(self, state: dict[str, dict[str, dict[str, Tensor]]]) -> None:
        # A frozen encoder is not in the file; its fingerprint was compared instead.
        for network, part in ((self.critic, "online"), (self.target.network, "target")):
            network.load_state_dict(network.state_dict() | state["critic"][part])
        self.critic_optimiser.load_state_dict(state["critic"]["optimiser"])


def _trained(critic: DoubleCritic) -> dict[str, Tensor]:
    """The critic's weights without a frozen encoder's, which come from their own folder."""
    return {
        name: weight
        for name, weight in critic.state_dict().items()
        if critic.trains_encoder or not name.startswith("encoder.")
    }

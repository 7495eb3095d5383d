"""Moves the LoRA along one of the actor's objectives within a KL budget; knows tokens and advantages, no rewards."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.actor import Actor, token_logprobs
from worker.archer.cloning import Cloning
from worker.archer.config import ArcherConfig
from worker.archer.descent import Descent, descend
from worker.archer.importance import effective_sample_size, kl_estimate, truncated_ratio, turn_ratio
from worker.archer.losses import awr_loss, clipped_policy_loss, exact_kl, imitation_loss, policy_gradient_loss
from worker.archer.processes import ALONE, Processes
from worker.archer.rows import Row, actor_batches, collate, micro_batches, spread
from worker.archer.types import ActorFigures, TokenBatch, TokenTable


class ActorTraining:
    """One update: the log-probs at its start and now, and the last adapter that was measured within the budget."""

    def __init__(
        self,
        actor: Actor,
        optimiser: torch.optim.Optimizer,
        table: TokenTable,
        start_logprobs: Float[Tensor, "tokens"],
        advantage: Float[Tensor, "tokens"] | None,
        config: ArcherConfig,
        processes: Processes = ALONE,
        cloning: Cloning | None = None,
    ) -> None:
        self.actor = actor
        self.optimiser = optimiser
        self.table = table
        self.start = start_logprobs.clone()
        self.now = start_logprobs.clone()
        self.advantage = advantage
        """None: the turns say nothing, demonstrations are all that is followed."""
        self.cloning = cloning
        self.config = config
        self.processes = processes
        self.seen = torch.zeros_like(table.turn, dtype=torch.bool)
        """Which tokens were read since the last step, by whichever process."""
        self.kl_at_start: float | None = None
        self.kl = 0.0
        self.taken = 0
        if config.kl_coefficient > 0:
            actor.remember()
        self.good = self._state()
        self.good_steps = 0

    def run(
        self,
        rows: Sequence[Row],
        episodes: Sequence[str],
        generator: torch.Generator,
        on_progress: Callable[[float], None],
    ) -> ActorFigures:
        """Take the steps of all passes, or as many as the budget allows. `episodes` names the episode of each turn."""
        config = self.config
        # Fresh replies that a policy gradient follows are as many as the turns of all passes.
        are_passed_once = config.actor_utterances == "fresh" and config.actor_objective != "imitation"
        passes = 1 if are_passed_once and self.advantage is not None else config.actor_epochs
        plan = [self._steps_of_pass(rows, generator) for _ in range(passes)]
        planned = sum(len(batches) for batches in plan)
        steps: list[Descent] = []
        tokens_trained = 0
        first_pass: Tensor | None = None
        stopped = False
        for batches in plan:
            for batch, shown in batches:
                self.seen.zero_()
                turns = self.table.turn[[span.table for row in batch for span in row.spans]].tolist()
                named = [episodes[turn] for turn in turns]
                step = descend(
                    self.optimiser,
                    self._losses_of_step(batch, shown, rows),
                    config.max_grad_norm,
                    whose="actor",
                    episodes=named if self.cloning is None else named + self.cloning.names_of(shown),
                    approves=self._is_within_budget,
                    processes=self.processes,
                )
                tokens_trained += sum(span.end - span.start for row in (*batch, *shown) for span in row.spans)
                if step is None:
                    stopped = True
                    break
                steps.append(step)
                self.taken += 1
                on_progress(len(steps) / planned)
            first_pass = self.now.clone() if first_pass is None else first_pass
            if stopped:
                break
        if not stopped:
            self._measure_again(rows)
            stopped = not self._is_within_budget()
        if stopped:
            self._restore()
        assert first_pass is not None
        return self._figures(steps, first_pass, stopped, tokens_trained)

    def _steps_of_pass(self, rows: Sequence[Row], generator: torch.Generator) -> list[tuple[list[Row], list[Row]]]:
        """Turns of each step and demonstrations beside them, all once; many demonstrations ask for more steps."""
        most = self.config.actor_batch_turns
        batches = [] if self.advantage is None else actor_batches(rows, most, generator)
        if self.cloning is None:
            return [(batch, []) for batch in batches]
        shares = max(len(batches), math.ceil(len(self.cloning.rows) / most))
        return list(zip_longest(batches, spread(self.cloning.rows, shares, generator), fillvalue=[]))

    def _losses_of_step(
        self, batch: Sequence[Row], shown: Sequence[Row], every: Sequence[Row]
    ) -> Iterator[Float[Tensor, ""]]:
        """This process' parts of J_π + demonstration_weight · J_BC."""
        if batch:
            yield from self.losses(batch, sum(len(row.spans) for row in batch))
        else:
            self._measure_again(every)  # the budget is of logged turns, and this step reads none
        if self.cloning is not None:
            yield from self.cloning.losses(shown)

    def losses(self, rows: Sequence[Row], turns: int) -> Iterator[Float[Tensor, ""]]:
        """This process' parts of J_π of one step; remembers the log-probs they were made of."""
        for rows_together, counts in self.processes.share(micro_batches(rows, self.config.max_tokens_per_microbatch)):
            tokens = collate(rows_together, self.actor.device)
            temperature = self.table.temperature[tokens.table]
            logits = self.actor.logits(tokens)
            logprobs = token_logprobs(logits, tokens.targets, temperature)
            self._note(tokens, logprobs.detach(), counts)
            loss = self.objective(logprobs, tokens, turns)
            if self.config.kl_coefficient > 0:
                kl = exact_kl(logits, self.actor.reference_logits(tokens), temperature)
                loss = loss + self.config.kl_coefficient * kl.sum() / turns
            yield counts * loss

    def objective(self, logprobs: Float[Tensor, "tokens"], tokens: TokenBatch, turns: int) -> Float[Tensor, ""]:
        """The part of J_π that these tokens are, by the config's objective: a sum over turns, each by its weight."""
        assert self.advantage is not None  # where it is, no step has turns
        config, advantage, weight = self.config, self.advantage[tokens.table], self.table.weight[tokens.table]
        behaviour = self.table.behaviour_logprobs[tokens.table]
        if config.actor_objective == "awr":
            return awr_loss(logprobs, advantage, turns, config.awr_beta, config.awr_max_weight, weight)
        if config.actor_objective == "imitation":
            return imitation_loss(logprobs, weight * (advantage > 0), turns)
        advantage = weight * advantage  # what clips looks at the ratio alone, so both are linear in it
        if config.actor_objective == "reinforce":
            return policy_gradient_loss(logprobs, behaviour, advantage, turns, config.max_importance_ratio)
        start = self.start[tokens.table]
        low, high, ratio = config.clip_low, config.clip_high, config.max_importance_ratio
        return clipped_policy_loss(logprobs, start, behaviour, advantage, turns, low, high, ratio)

    @torch.no_grad()
    def _measure_again(self, rows: Sequence[Row]) -> None:
        """The log-probs as they are now, on every n-th micro-batch; sorted by length, so of all lengths."""
        batches = micro_batches(rows, self.config.max_tokens_per_microbatch)
        self.seen.zero_()
        for rows_together, counts in self.processes.share(batches[:: max(1, round(1 / self.config.kl_check_share))]):
            tokens = collate(rows_together, self.actor.device)
            self._note(tokens, self.actor.logprobs(tokens, self.table.temperature[tokens.table]), counts)

    def _note(self, tokens: TokenBatch, logprobs: Float[Tensor, "tokens"], counts: float) -> None:
        """What only fills up is left to the process whose share it is."""
        if counts > 0:
            self.now[tokens.table] = logprobs
            self.seen[tokens.table] = True

    def _combine(self) -> None:
        """Know what every process has read."""
        read = self.processes.total(self.now.where(self.seen, 0.0))
        self.seen = self.processes.total(self.seen.int()) > 0
        self.now = read.where(self.seen, self.now)

    def _is_within_budget(self) -> bool:
        """Measure the KL of the weights just read; within the budget they become the ones to return to."""
        self._combine()
        seen = self.seen
        weight = truncated_ratio(
            self.start[seen], self.table.behaviour_logprobs[seen], self.config.max_importance_ratio
        )
        kl = self.processes.same(kl_estimate(self.now[seen], self.start[seen], weight)).item()
        if self.kl_at_start is None:
            # Nothing has moved yet, so what differs is rounding (the engine's kernels are not these): from here on
            # the start is what this machine computes.
            self.kl_at_start = kl
            self.start[seen] = self.now[seen]
            kl = 0.0
        if not kl <= (math.inf if self.config.kl_budget is None else self.config.kl_budget):
            return False  # nor is what is not a number: the last step broke the policy
        self.kl = kl
        if self.config.kl_budget is not None:
            self.good = self._state()
            self.good_steps = self.taken
        return True

    def _state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        return self.actor.adapter_state(), copy.deepcopy(self.optimiser.state_dict())

    def _restore(self) -> None:
        adapter, optimiser = self.good
        self.actor.load_adapter_state(adapter)
        self.optimiser.load_state_dict(optimiser)

    def _figures(
        self, steps: Sequence[Descent], first_pass: Float[Tensor, "tokens"], stopped: bool, tokens_trained: int
    ) -> ActorFigures:
        behaviour = self.table.behaviour_logprobs
        ratio = (first_pass - behaviour).exp()
        c = self.config.max_importance_ratio
        turns = int(self.table.turn.max()) + 1
        of_turns = turn_ratio(first_pass, behaviour, self.table.turn, turns)[torch.unique(self.table.turn)]
        return ActorFigures(
            steps=len(steps),
            steps_kept=self.good_steps if stopped else self.taken,
            loss=sum(step.loss for step in steps) / len(steps),
            grad_norm=sum(step.grad_norm for step in steps) / len(steps),
            importance_ratio_mean=ratio.mean().item(),
            importance_ratio_max=ratio.max().item(),
            importance_truncated_share=(ratio > c).float().mean().item(),
            effective_sample_size=effective_sample_size(of_turns.clamp(max=c)).item(),
            kl_at_start=self.kl_at_start if self.kl_at_start is not None else 0.0,
            kl_to_start=self.kl,
            stopped_by_kl=stopped,
            tokens_trained=tokens_trained,
        )

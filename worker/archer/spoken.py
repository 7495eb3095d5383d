"""Logged replies as the actor reads them, and how likely the policy that an update starts from was to say them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.importance import turn_ratio
from worker.archer.rows import Row, build_rows, build_table, collate, micro_batches
from worker.archer.traces import full_product_trace, length_normalised_trace
from worker.archer.types import TokenTable, Transition


class Spoken(NamedTuple):
    """Turns, and the tokens of those that train the actor."""

    transitions: Sequence[Transition]
    rows: list[Row]
    table: TokenTable
    start: Float[Tensor, "tokens"]
    """log π₀ of each trained token."""

    def ratio(self) -> Float[Tensor, "turns"]:
        """π₀/μ of each turn, length-normalised; 1 for a turn that does not train the actor."""
        return turn_ratio(self.start, self.table.behaviour_logprobs, self.table.turn, len(self.transitions))

    def trace(self, config: ArcherConfig) -> Float[Tensor, "turns"]:
        """How freely what follows each turn passes to those before it, at λ = 1; 0 everywhere for one-step targets."""
        if config.trace == "none":
            return self.start.new_zeros(len(self.transitions))
        measure = length_normalised_trace if config.trace == "length_normalised" else full_product_trace
        turns = len(self.transitions)
        return measure(self.start, self.table.behaviour_logprobs, self.table.turn, turns, lam=1.0)


def read_spoken(actor: Actor, transitions: Sequence[Transition], config: ArcherConfig) -> Spoken:
    """The turns with the log-probs that their replies have under the policy as it is."""
    rows = build_rows(transitions, config.max_prompt_tokens)
    table = build_table(transitions, actor.device)
    return Spoken(transitions, rows, table, start_logprobs(actor, rows, table, transitions, config))


@torch.no_grad()
def start_logprobs(
    actor: Actor, rows: Sequence[Row], table: TokenTable, transitions: Sequence[Transition], config: ArcherConfig
) -> Float[Tensor, "tokens"]:
    """log π₀ of each trained token: what was logged where π₀ itself spoke, computed where an older policy did.

    The logged ones throughout where nothing asks how likely a logged reply is: V and the actor take fresh ones, and no
    trace is left.
    """
    start = table.behaviour_logprobs.clone()
    if config.value == "sampled" and config.trace == "none" and config.actor_utterances == "fresh":
        return start
    turn = table.turn.tolist()
    older = [row for row in rows if not all(transitions[turn[span.table]].on_policy for span in row.spans)]
    for rows_together in micro_batches(older, config.max_tokens_per_microbatch):
        tokens = collate(rows_together, actor.device)
        start[tokens.table] = actor.logprobs(tokens, table.temperature[tokens.table])
    return start

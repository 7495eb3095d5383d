"""Imitates demonstrated replies, a share of them in each of the actor's steps; knows neither rewards nor a critic."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from worker.archer.actor import Actor
from worker.archer.config import ArcherConfig
from worker.archer.demonstrated import turns_shown
from worker.archer.losses import cloning_loss
from worker.archer.processes import ALONE, Processes
from worker.archer.rows import Row, build_rows, build_table, collate, micro_batches
from worker.archer.types import Demonstration


class Cloning:
    """Demonstrations as the actor reads them."""

    def __init__(
        self,
        actor: Actor,
        demonstrations: Sequence[Demonstration],
        config: ArcherConfig,
        processes: Processes = ALONE,
    ) -> None:
        self.actor = actor
        self.config = config
        self.processes = processes
        self.turns = turns_shown(demonstrations)
        self.rows = build_rows(self.turns, config.max_prompt_tokens)
        self.table = build_table(self.turns, actor.device)
        self.length = torch.bincount(self.table.turn)[self.table.turn]
        """|a| at each token."""
        self.logprob_before = self.logprob()

    def names_of(self, rows: Sequence[Row]) -> list[str]:
        """The episodes that these rows are of."""
        places = self.table.turn[[span.table for row in rows for span in row.spans]].tolist()
        return [self.turns[place].episode for place in places]

    def losses(self, rows: Sequence[Row]) -> Iterator[Float[Tensor, ""]]:
        """This process' parts of demonstration_weight · J_BC, the mean over the demonstrations in these rows."""
        for loss in self._parts(rows):
            yield self.config.demonstration_weight * loss

    @torch.no_grad()
    def logprob(self) -> float:
        """Of a demonstrated token under the policy as it is: -J_BC over all demonstrations."""
        parts = torch.stack(list(self._parts(self.rows)))
        return -self.processes.same(self.processes.total(parts.sum())).item()

    def _parts(self, rows: Sequence[Row]) -> Iterator[Float[Tensor, ""]]:
        count = sum(len(row.spans) for row in rows)
        for together, counts in self.processes.share(micro_batches(rows, self.config.max_tokens_per_microbatch)):
            tokens = collate(together, self.actor.device)
            logprobs = self.actor.logprobs(tokens, self.table.temperature[tokens.table])
            yield counts * cloning_loss(logprobs, self.length[tokens.table], count)

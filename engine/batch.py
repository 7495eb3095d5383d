"""The running batch: rows join in one prefill, advance one forward a token, and leave; knows no queue and no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from engine.kv_cache import BatchCache
from engine.lora import Adapter, Composition
from engine.model import LanguageModel
from engine.sampling import Sampled, Sampler, SamplerRow


@dataclass(eq=False, slots=True)
class Row:
    """One request while it decodes."""

    prompt_ids: Sequence[int]
    sampler: SamplerRow
    adapter: Adapter | None = None
    # Token ids that may not be drawn for now: what would end the reply before its least length.
    suppressed: Sequence[int] = ()


RowT = TypeVar("RowT", bound=Row)


class RunningBatch(Generic[RowT]):
    """Rows in decoding order. A row that leaves gives its place to the last one, here as in the cache."""

    def __init__(self, model: LanguageModel, composition: Composition) -> None:
        self._model = model
        self._composition = composition
        config = model.network.config.get_text_config()
        self._layer_types: list[str] = getattr(config, "layer_types", None) or []
        self._sliding_window: int | None = getattr(config, "sliding_window", None)
        self._cache = BatchCache(config.num_hidden_layers)
        self.rows: list[RowT] = []
        self._last_tokens = torch.empty(0, dtype=torch.long, device=model.device)
        self._prepared: tuple[Sampler, Tensor] | None = None

    @property
    def column_capacity(self) -> int:
        return self._cache.column_capacity

    @torch.inference_mode()
    def join(self, rows: Sequence[RowT]) -> Sampled:
        """Prefill new rows together; the first token of each."""
        lengths = [len(row.prompt_ids) for row in rows]
        longest = max(lengths)
        self._cache.open_rows(lengths)
        self.rows.extend(rows)
        self._prepared = None
        padded = [[0] * (longest - len(row.prompt_ids)) + list(row.prompt_ids) for row in rows]
        starts = self._tensor([longest - length for length in lengths])
        columns = torch.arange(longest, device=self._model.device)
        positions = (columns - starts[:, None]).clamp(min=0)
        logits = self._forward(self._tensor(padded), positions, starts, columns, columns, rows)
        sampled = Sampler([row.sampler for row in rows], self._model.device).sample(suppress(logits, rows))
        self._last_tokens = torch.cat([self._last_tokens, sampled.tokens])
        return sampled

    @torch.inference_mode()
    def step(self) -> Sampled:
        """The next token of every row."""
        self._cache.open_step()
        if self._prepared is None:
            sampler = Sampler([row.sampler for row in self.rows], self._model.device)
            self._prepared = (sampler, self._tensor(self._cache.starts))
            self._composition.use([row.adapter for row in self.rows], self._model.device)
        sampler, starts = self._prepared
        columns = torch.arange(self._cache.first_column, self._cache.end, device=self._model.device)
        positions = (self._cache.end - 1 - starts)[:, None]
        logits = self._forward(self._last_tokens[:, None], positions, starts, columns[-1:], columns, None)
        sampled = sampler.sample(suppress(logits, self.rows))
        self._last_tokens = sampled.tokens
        return sampled

    @torch.inference_mode()
    def leave(self, places: Sequence[int]) -> None:
        """Drop rows; from the last to the first, so that no place moves before its turn."""
        for place in sorted(places, reverse=True):
            self._cache.drop_row(place)
            last_row = self.rows.pop()
            if place < len(self.rows):
                self.rows[place] = last_row
                self._last_tokens[place] = self._last_tokens[-1]
            self._last_tokens = self._last_tokens[:-1].clone()
        if places:
            self._prepared = None

    @torch.inference_mode()
    def scrub(self, place: int) -> None:
        """Wipe a broken row, which is to leave next."""
        self._cache.scrub_row(place)

    def forget(self, adapter: Adapter) -> None:
        """Free what is kept for an unloaded adapter."""
        self._composition.forget(adapter)

    def _forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        starts: Tensor,
        queries: Tensor,
        columns: Tensor,
        joining: Sequence[RowT] | None,
    ) -> Tensor:
        if joining is not None:
            self._composition.use([row.adapter for row in joining], self._model.device)
        output = self._model.network(
            input_ids=tokens,
            attention_mask=self._masks(starts, queries, columns),
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _masks(self, starts: Tensor, queries: Tensor, columns: Tensor) -> Tensor | dict[str, Tensor]:
        """Additive masks [rows, 1, queries, columns], one for each kind of attention layer that the model has."""
        distance = queries[:, None] - columns[None, :]
        seen = (distance >= 0)[None] & (columns[None, None, :] >= starts[:, None, None])
        # A query in the padding sees itself: over nothing at all, softmax is NaN.
        seen = seen | (distance == 0)[None]
        masks = {"full_attention": seen}
        if self._sliding_window is not None:
            masks["sliding_attention"] = seen & (distance < self._sliding_window)[None]
        additive = {
            kind: torch.zeros(mask.shape, dtype=self._model.dtype, device=mask.device).masked_fill_(~mask, -torch.inf)[
                :, None
            ]
            for kind, mask in masks.items()
        }
        if self._layer_types and self._sliding_window is not None:
            return additive
        return additive["sliding_attention" if self._sliding_window is not None else "full_attention"]

    def _tensor(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)


def suppress(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Take away what a row may not draw yet."""
    for place, row in enumerate(rows):
        if row.suppressed:
            logits[place, list(row.suppressed)] = -torch.inf
    return logits

"""Says the next utterance of many conversations at once, keeping what was read of each; knows no reward and no text."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from worker.archer.descent import NonFiniteUpdateError
from worker.archer.kv_cache import roomy_cache


@dataclass(frozen=True, slots=True)
class Utterance:
    """Sampled token ids, the end token included if it came, and their log-probs as sampled from."""

    ids: list[int]
    logprobs: list[float]


class Speaker:
    """A batch of growing conversations over one model, each at its temperature.

    `generator` lies on the model's device. Nothing is kept for gradients.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        rows: int,
        *,
        ends: Sequence[int],
        max_new_tokens: int,
        generator: torch.Generator,
        temperatures: Sequence[float] = (1.0,),
    ) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.generator = generator
        self.device = model.device
        self.ends = torch.tensor(ends, device=self.device)
        # At 0 the likeliest token is said, which dividing by almost nothing comes to.
        self.temperature = torch.tensor(temperatures, device=self.device).clamp(min=1e-6).expand(rows)
        self.cache = roomy_cache()
        self.mask = torch.zeros(rows, 0, dtype=torch.bool, device=self.device)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these conversations only."""
        if len(rows) < len(self.mask):
            self.take(rows)

    def take(self, rows: Sequence[int]) -> None:
        """Go on with these conversations, each as often as it is named."""
        index = torch.tensor(rows, device=self.device)
        self.mask = self.mask[index]
        self.temperature = self.temperature[index]
        self.cache.batch_select_indices(index)

    @torch.inference_mode()
    def speak(self, heard: Sequence[Sequence[int]], *, each: int = 1) -> list[Utterance]:
        """Read the new tokens of each conversation, then sample an utterance; its last token is not read yet.

        With `each`, so many utterances of each conversation, one after another, which are conversations of their own
        from here on: what they share is read once. NonFiniteUpdateError where the policy is broken.
        """
        logits = self._read(heard)
        if each > 1:
            branches = [row for row in range(len(heard)) for _ in range(each)]
            self.take(branches)
            logits = logits[branches]
        rows = len(logits)
        said: list[list[int]] = [[] for _ in range(rows)]
        logprobs: list[list[float]] = [[] for _ in range(rows)]
        speaking = torch.ones(rows, dtype=torch.bool, device=self.device)
        for length in range(self.max_new_tokens):
            distribution = torch.log_softmax(logits.float() / self.temperature.unsqueeze(1), dim=-1)
            if distribution.isnan().any():
                raise NonFiniteUpdateError("The policy finds no next token likely: its logits are not finite.")
            token = torch.multinomial(distribution.exp(), 1, generator=self.generator)
            logprob = distribution.gather(1, token)[:, 0].tolist()
            for row, (sampled, is_speaking) in enumerate(zip(token[:, 0].tolist(), speaking.tolist(), strict=True)):
                if is_speaking:
                    said[row].append(sampled)
                    logprobs[row].append(logprob[row])
            speaking = speaking & ~torch.isin(token[:, 0], self.ends)
            if length + 1 == self.max_new_tokens or not speaking.any():
                break
            logits = self._forward(token, speaking.unsqueeze(1))
        return [Utterance(ids, values) for ids, values in zip(said, logprobs, strict=True)]

    def _read(self, heard: Sequence[Sequence[int]]) -> Tensor:
        """Left-padded, so that each row's newest token stands last."""
        width = max(len(ids) for ids in heard)
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in heard], device=self.device)
        real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in heard], device=self.device)
        return self._forward(ids, real)

    def _forward(self, ids: Tensor, real: Tensor) -> Tensor:
        """The logits after the last column; a padded place looks at itself alone, and nobody looks at it."""
        before, new = self.mask.shape[1], ids.shape[1]
        self.mask = torch.cat([self.mask, real], dim=1)
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, before:]
        place = torch.arange(before + new, device=self.device)
        asking = place[before:].unsqueeze(1)
        looks = (place <= asking) & self.mask.unsqueeze(1) | (place == asking)
        out = self.model(
            input_ids=ids,
            attention_mask=looks.unsqueeze(1),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

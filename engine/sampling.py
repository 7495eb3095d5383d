"""Chooses the next token of each row of a batch, and says how likely it was where it was drawn from."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

# Enough candidates for nearly every nucleus; where the mass does not fit, the whole vocabulary is sorted.
NUCLEUS_CANDIDATES = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request wants its tokens drawn."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    wants_logprobs: bool = False
    top_logprobs: int = 0

    @property
    def is_greedy(self) -> bool:
        return self.temperature < 1e-5


@dataclass(slots=True)
class SamplerRow:
    """One request's settings and its own random numbers: its neighbours in the batch cannot change its draws."""

    sampling: Sampling
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.sampling.seed)


class Sampled(NamedTuple):
    """Tokens of a batch; log-probs only where a row asked for them. A broken row's logits were no numbers."""

    tokens: Tensor
    broken: Tensor
    logprobs: Tensor | None
    top_tokens: Tensor | None
    top_logprobs: Tensor | None


class Sampler:
    """Draws for one composition of the batch; built anew when a row joins or leaves, not at each step."""

    def __init__(self, rows: Sequence[SamplerRow], device: torch.device) -> None:
        settings = [row.sampling for row in rows]
        self._device = device
        self._random_rows = [None if row.sampling.is_greedy else row.rng for row in rows]
        self._all_greedy = all(s.is_greedy for s in settings)
        self._wants_logprobs = any(s.wants_logprobs for s in settings)
        self._top_logprobs = max((s.top_logprobs for s in settings), default=0)
        self._greedy = torch.tensor([s.is_greedy for s in settings], device=device)
        # A greedy row is reported under the undistorted distribution: its temperature reads 1, and nothing is cut.
        temperature = [1.0 if s.is_greedy else s.temperature for s in settings]
        self._temperature = torch.tensor(temperature, device=device)[:, None]
        cut = [i for i, s in enumerate(settings) if not s.is_greedy and (s.top_p < 1 or s.top_k > 0)]
        self._cut_rows = torch.tensor(cut, dtype=torch.long, device=device)
        self._top_p = torch.tensor([settings[i].top_p for i in cut], device=device)
        self._top_k = torch.tensor([settings[i].top_k for i in cut], dtype=torch.long, device=device)

    def sample(self, logits: Tensor) -> Sampled:
        """One token a row from logits [rows, vocabulary]."""
        logits = logits.float()
        best = logits.max(-1)
        broken = ~best.values.isfinite()
        if broken.any():
            logits = logits.masked_fill(broken[:, None], 0.0)
        if self._all_greedy:
            return self._with_logprobs(logits, best.indices, broken)
        logits = logits / self._temperature
        if len(self._cut_rows):
            logits[self._cut_rows] = cut_to_top(logits[self._cut_rows], self._top_k, self._top_p)
        tokens = draw(logits, self._draws())
        return self._with_logprobs(logits, torch.where(self._greedy, best.indices, tokens), broken)

    def _draws(self) -> Tensor:
        uniforms = [0.0 if rng is None else rng.random() for rng in self._random_rows]
        return torch.tensor(uniforms, dtype=torch.float64, device=self._device)

    def _with_logprobs(self, logits: Tensor, tokens: Tensor, broken: Tensor) -> Sampled:
        if not self._wants_logprobs:
            return Sampled(tokens, broken, None, None, None)
        normaliser = logits.logsumexp(-1, keepdim=True)
        logprobs = (logits.gather(1, tokens[:, None]) - normaliser)[:, 0]
        if not self._top_logprobs:
            return Sampled(tokens, broken, logprobs, None, None)
        top = logits.topk(self._top_logprobs, -1)
        return Sampled(tokens, broken, logprobs, top.indices, top.values - normaliser)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse transform: the token in whose stretch of the cumulated probabilities the row's uniform number falls.

    One number a row and one pass over the vocabulary; exponential noise for each token took ten times as long.
    Cumulated in float64: in float32 the tail of a vocabulary of 50,000 would be lost in rounding.
    """
    cumulated = torch.softmax(logits, -1).cumsum(-1, dtype=torch.float64)
    total = cumulated[:, -1:]
    # Below the total by all means, or rounding would choose a token of probability zero.
    target = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulated, target, right=True)[:, 0]


def cut_to_top(logits: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Keep the `top_k` likeliest tokens (0: all), then the fewest whose renormalised mass reaches `top_p`; ties too."""
    vocabulary = logits.shape[-1]
    candidates = min(vocabulary, max(NUCLEUS_CANDIDATES, int(top_k.max())))
    while True:
        values = logits.topk(candidates, -1).values
        rank = torch.arange(candidates, device=logits.device)
        beyond_k = (top_k[:, None] > 0) & (rank >= top_k[:, None])
        values_in_k = values.masked_fill(beyond_k, -torch.inf)
        everything = torch.where(top_k > 0, values_in_k.logsumexp(-1), logits.logsumexp(-1))
        probabilities = (values_in_k - everything[:, None]).exp()
        mass = probabilities.cumsum(-1)
        # Under top_k the candidates are all there is; else the nucleus must end inside them.
        if candidates == vocabulary or bool(((top_k > 0) | (mass[:, -1] >= top_p)).all()):
            break
        candidates = vocabulary
    kept = ((mass - probabilities < top_p[:, None]) & ~beyond_k).sum(-1, keepdim=True).clamp(min=1)
    return logits.masked_fill(logits < values.gather(1, kept - 1), -torch.inf)

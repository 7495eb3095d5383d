"""Twin Q and V of whole utterances over a pretrained text encoder; knows neither the actor nor training."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from worker.archer.config import ArcherConfig


class EncoderError(ValueError):
    """The encoder cannot be used; the message says why and what would do."""


def mean_pool(
    hidden: Float[Tensor, "texts length width"], mask: Int[Tensor, "texts length"]
) -> Float[Tensor, "texts width"]:
    """Mean of the hidden states of real tokens.

    h̄ = Σₜ mₜ hₜ / Σₜ mₜ     as MiniLM was trained to be read; a pooler layer would be random in many encoders.
    """
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class TextEncoder(nn.Module):
    """A transformers encoder, its tokenizer, and mean pooling."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ArcherConfig) -> None:
        super().__init__()
        limit = getattr(model.config, "max_position_embeddings", config.max_encoder_tokens)
        self.model = model.train(False)  # no dropout: the same text has the same value twice
        self.tokenizer = tokenizer
        self.max_tokens = min(config.max_encoder_tokens, limit)
        self.max_tokens_per_pass = config.max_tokens_per_microbatch
        self.width: int = model.config.hidden_size
        # The newest words of a transcript say most about what comes next.
        tokenizer.truncation_side = "left"

    def train(self, mode: bool = True) -> "TextEncoder":
        """Stay without dropout, trained or not."""
        return super().train(False)

    def count_cut(self, texts: list[str]) -> int:
        """How many of the texts are longer than the encoder reads."""
        return (
            sum(len(ids) > self.max_tokens for ids in self.tokenizer(texts, verbose=False)["input_ids"]) if texts else 0
        )

    def forward(self, texts: list[str]) -> Float[Tensor, "texts width"]:
        """Features of each text, in its order; shorter texts go together so that little is padding."""
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_tokens)["input_ids"]
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        pooled: list[Tensor] = []
        while len(pooled) < len(order):
            taken = self._fitting(encoded, order[len(pooled) :])
            ids = pad_sequence([torch.tensor(encoded[place]) for place in taken], batch_first=True)
            lengths = torch.tensor([len(encoded[place]) for place in taken])
            mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long().to(self.model.device)
            hidden = self.model(input_ids=ids.to(self.model.device), attention_mask=mask).last_hidden_state
            pooled.extend(mean_pool(hidden, mask).unbind())
        back = torch.argsort(torch.tensor(order)).tolist()
        return torch.stack([pooled[place] for place in back])

    def _fitting(self, encoded: list[list[int]], order: list[int]) -> list[int]:
        """The first places of `order` that fit one pass; lengths rise, so the last one decides the width."""
        count = 1
        while count < len(order) and (count + 1) * len(encoded[order[count]]) <= self.max_tokens_per_pass:
            count += 1
        return order[:count]


class ValueHead(nn.Module):
    """Features to one number in normalised units: LayerNorm, one hidden layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        last = nn.Linear(hidden, 1)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), last)
        # Start at the shift exactly: before anything is learned no reply is better than another.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch"]:
        """One number a row."""
        value: Tensor = self.layers(features).squeeze(-1)
        return value


class TwinHeads(nn.Module):
    """Two Q and two V over given features, in the rewards' own unit through one shift and scale."""

    shift: Tensor
    scale: Tensor
    is_calibrated: Tensor

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.q = nn.ModuleList(ValueHead(2 * width, hidden) for _ in range(2))
        self.v = nn.ModuleList(ValueHead(width, hidden) for _ in range(2))
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("is_calibrated", torch.tensor(False))

    def calibrate(self, returns: Float[Tensor, "turns"]) -> None:
        """Take unit and zero from the first returns ever seen, once: a score of 1 to 100 learns as fast as a thumb."""
        if self.is_calibrated:
            return
        spread, size = returns.std(correction=0), returns.abs().mean()
        self.shift.copy_(returns.mean())
        self.scale.copy_(spread if spread > 1e-6 * (1 + size) else (size if size > 0 else torch.ones_like(size)))
        self.is_calibrated.fill_(True)


class DoubleCritic(nn.Module):
    """Q₁, Q₂, V₁, V₂ on one encoder, which reads observation and utterance separately.

    Separately, because then each text is read once an update however many critic steps follow, a next observation costs
    nothing (it is the next turn's observation), and a short utterance does not drown in the mean of a long transcript.
    """

    def __init__(self, encoder: TextEncoder, heads: TwinHeads, *, trains_encoder: bool) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(trains_encoder)
        self.heads = heads
        self.trains_encoder = trains_encoder

    @classmethod
    def from_pretrained(
        cls, encoder: str | Path, config: ArcherConfig, *, device: str | torch.device = "cpu", seed: int = 0
    ) -> "DoubleCritic":
        """Fresh heads on any transformers encoder, by folder or name."""
        try:
            model = AutoModel.from_pretrained(encoder, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(encoder)
        except (OSError, ValueError) as error:
            raise EncoderError(f"{encoder} is not a transformers encoder with a tokenizer: {error}") from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unread here, and random wherever the file does not hold it
        text_encoder = TextEncoder(model, tokenizer, config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            heads = TwinHeads(text_encoder.width, config.critic_hidden)
        return cls(text_encoder, heads, trains_encoder=config.train_encoder).to(device)

    def encode(self, texts: list[str]) -> Float[Tensor, "texts width"]:
        """Features of each text; with gradient only where the encoder is trained."""
        with torch.set_grad_enabled(self.trains_encoder and torch.is_grad_enabled()):
            features: Tensor = self.encoder(texts)
            return features

    def q(
        self, observation: Float[Tensor, "batch width"], utterance: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "2 batch"]:
        """Q₁ and Q₂ of an utterance after a transcript."""
        features = torch.cat([observation, utterance], dim=-1)
        return self.heads.shift + self.heads.scale * torch.stack([head(features) for head in self.heads.q])

    def v(self, observation: Float[Tensor, "batch width"]) -> Float[Tensor, "2 batch"]:
        """V₁ and V₂ of a transcript."""
        return self.heads.shift + self.heads.scale * torch.stack([head(observation) for head in self.heads.v])

"""Reads turns as text with a small encoder of the critic's own; knows neither values nor tokens of the policy."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from worker.archer.config import ArcherConfig
from worker.archer.reader import Reader, weights_digest
from worker.archer.types import Features, Transition


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

    @classmethod
    def from_pretrained(cls, encoder: str | Path, config: ArcherConfig) -> "TextEncoder":
        """Any transformers encoder, by folder or name."""
        try:
            model = AutoModel.from_pretrained(encoder, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(encoder)
        except (OSError, ValueError) as error:
            raise EncoderError(f"{encoder} is not a transformers encoder with a tokenizer: {error}") from error
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unread here, and random wherever the file does not hold it
        return cls(model, tokenizer, config)

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


class TextIndex(NamedTuple):
    """Each distinct text once, and the turns as places among them; -1 where nothing follows."""

    texts: list[str]
    observation: list[int]
    action: list[int]
    following: list[int]


class TextReader(Reader[TextIndex]):
    """Observation and utterance through one encoder: apart (split), or the utterance after its transcript (joint).

    Split, a text is read once an update however many steps follow, a next observation costs nothing (it is the next
    turn's observation), and a short utterance does not drown in the mean of a long transcript. Joint, the two can
    attend to each other, for one more text a turn.
    """

    def __init__(self, encoder: TextEncoder, config: ArcherConfig) -> None:
        self.trains = config.train_reader
        self.is_joint = config.critic_encoding == "joint"
        self.encoder = encoder.requires_grad_(self.trains)
        self.state_width = encoder.width
        self.action_width = encoder.width if self.is_joint else 2 * encoder.width
        self.turns_a_pass = max(1, config.max_tokens_per_microbatch // (3 * encoder.max_tokens))

    def index(self, transitions: Sequence[Transition]) -> TextIndex:
        """Number the texts."""
        places: dict[str, int] = {}

        def place(text: str) -> int:
            return places.setdefault(text, len(places))

        observation = [place(turn.observation) for turn in transitions]
        spoken = [f"{turn.observation}\n{turn.utterance}" if self.is_joint else turn.utterance for turn in transitions]
        action = [place(text) for text in spoken]
        following = [-1 if t.next_observation is None else place(t.next_observation) for t in transitions]
        return TextIndex(list(places), observation, action, following)

    def parts(self, index: TextIndex, turns: Sequence[int]) -> list[list[int]]:
        """As many turns together as fit if each of their texts is as long as the encoder reads."""
        return [list(turns[start : start + self.turns_a_pass]) for start in range(0, len(turns), self.turns_a_pass)]

    def read(self, index: TextIndex, turns: Sequence[int], *, following: bool) -> Features:
        """Encode each text that these turns need once."""
        wanted = [index.observation, index.action, *([index.following] if following else [])]
        used = sorted({column[turn] for column in wanted for turn in turns} - {-1})
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            encoded = self.encoder([index.texts[text] for text in used])
        padded = torch.cat([encoded, encoded.new_zeros(1, encoded.shape[1])])  # the last row is "nothing follows"
        row = {text: place for place, text in enumerate(used)}

        def gather(column: list[int]) -> Tensor:
            return padded[torch.tensor([row.get(column[turn], -1) for turn in turns], device=padded.device)]

        observation, action = gather(index.observation), gather(index.action)
        return Features(
            observation,
            action if self.is_joint else torch.cat([observation, action], dim=-1),
            gather(index.following) if following else torch.zeros_like(observation),
        )

    def count_cut(self, index: TextIndex) -> int:
        """Texts longer than the encoder reads."""
        return self.encoder.count_cut(index.texts)

    def twin(self) -> "TextReader":
        """A slow copy; itself where nothing moves."""
        if not self.trains:
            return self
        other = copy.copy(self)
        other.encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        return other

    def active(self) -> AbstractContextManager[None]:
        """Nothing to switch: the encoder is the critic's own."""
        return nullcontext()

    def trained(self) -> dict[str, nn.Parameter]:
        """The encoder's weights, where they are trained."""
        return dict(self.encoder.named_parameters()) if self.trains else {}

    def architecture(self) -> dict[str, str]:
        """The encoder's shape, and a frozen one's very weights."""
        model = self.encoder.model
        described = {
            "critic reads": f"{'joint' if self.is_joint else 'split'} texts",
            "encoder": f"{model.config.model_type}, {model.num_parameters()} parameters",
            "encoder is trained": str(self.trains),
        }
        return described if self.trains else described | {"frozen encoder's weights": weights_digest(model)}

"""What a critic's reader is: turns to features, by whatever network; knows no values."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from torch import nn
from torch.distributed.tensor import DTensor

from worker.archer.types import Features, Transition

Index = TypeVar("Index")


class Reader(ABC, Generic[Index]):
    """Numbers the turns of an update once, then reads any of them as often as asked."""

    trains: bool
    """Whether its weights move with the critic's; if not, the features of a turn may be kept."""
    state_width: int
    action_width: int

    @abstractmethod
    def index(self, transitions: Sequence[Transition]) -> Index:
        """What `read` needs to know of an update's turns."""

    @abstractmethod
    def parts(self, index: Index, turns: Sequence[int]) -> list[list[int]]:
        """The turns in parts that each fit one pass with gradient."""

    @abstractmethod
    def read(self, index: Index, turns: Sequence[int], *, following: bool) -> Features:
        """Features of these turns, in their order; of what follows only if asked. Call it within `active`."""

    @abstractmethod
    def count_cut(self, index: Index) -> int:
        """How many turns or texts were longer than what is read of them."""

    @abstractmethod
    def twin(self) -> "Reader[Index]":
        """The reader of the targets: a slow copy that is never trained, or itself where nothing moves."""

    @abstractmethod
    def active(self) -> AbstractContextManager[None]:
        """While this is entered, a model that is shared is this reader's; backward passes belong inside too."""

    @abstractmethod
    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; the same names in the twin."""

    @abstractmethod
    def architecture(self) -> dict[str, str]:
        """What a checkpoint must agree on."""


def weights_digest(model: nn.Module) -> str:
    """A fingerprint of all weights but adapters': those move, and a frozen reader leaves them out."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        if "lora_" not in name:
            whole = weight.full_tensor() if isinstance(weight, DTensor) else weight  # one that lies in shares
            digest.update(name.encode() + whole.cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]

"""LoRA applied unmerged, each row of a batch under its own adapter; knows neither files nor requests."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

CACHED_COMPOSITIONS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The weights of one adapter version: for each linear layer A [rank, in] and B [out, rank], scaling inside B."""

    name: str
    path: str
    rank: int
    weights: dict[str, tuple[Tensor, Tensor]] = field(repr=False)


class Composition:
    """Which adapters the next forward uses, and for which rows; every adapted layer reads it.

    The adapters of a mixed batch are laid side by side along the rank, and a mask leaves each row its own stretch:
    two small products a layer however many adapters there are, against one forward an adapter when rows are grouped.
    """

    def __init__(self) -> None:
        self.weights: dict[str, tuple[Tensor, Tensor]] = {}
        self.mask: Tensor | None = None
        self._cache: OrderedDict[tuple[Adapter, ...], dict[str, tuple[Tensor, Tensor]]] = OrderedDict()

    def use(self, rows: Sequence[Adapter | None], device: torch.device) -> None:
        """Set the adapter of each row; None is the base model."""
        used = tuple(dict.fromkeys(adapter for adapter in rows if adapter is not None))
        self.mask = None
        if not used:
            self.weights = {}
            return
        self.weights = used[0].weights if len(used) == 1 else self._side_by_side(used)
        if len(used) > 1 or None in rows:
            others = [[row is not adapter for adapter in used for _ in range(adapter.rank)] for row in rows]
            self.mask = torch.tensor(others, device=device)[:, None, :]

    def forget(self, adapter: Adapter) -> None:
        """Let go of an unloaded adapter's memory."""
        for used in [used for used in self._cache if adapter in used]:
            del self._cache[used]

    def _side_by_side(self, used: tuple[Adapter, ...]) -> dict[str, tuple[Tensor, Tensor]]:
        if used in self._cache:
            self._cache.move_to_end(used)
            return self._cache[used]
        combined = {}
        for name in dict.fromkeys(name for adapter in used for name in adapter.weights):
            in_like, out_like = next(adapter.weights[name] for adapter in used if name in adapter.weights)
            parts = [
                adapter.weights.get(name)
                or (
                    in_like.new_zeros(adapter.rank, in_like.shape[1]),
                    out_like.new_zeros(out_like.shape[0], adapter.rank),
                )
                for adapter in used
            ]
            combined[name] = (torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts], dim=1))
        self._cache[used] = combined
        if len(self._cache) > CACHED_COMPOSITIONS:
            self._cache.popitem(last=False)
        return combined


class AdaptedLinear(nn.Module):
    """A linear layer of the base model that adds what the composition holds for it."""

    def __init__(self, linear: nn.Linear, name: str, composition: Composition) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._name = name
        self._composition = composition

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = functional.linear(inputs, self.weight, self.bias)
        lora = self._composition.weights.get(self._name)
        if lora is None:
            return outputs
        low = functional.linear(inputs, lora[0])
        if self._composition.mask is not None:
            # Filled, not multiplied: zero times another adapter's overflow would be NaN in this row.
            low = low.masked_fill(self._composition.mask, 0.0)
        # Added in place: the product and the sum are one call, and the outputs are nobody else's yet.
        outputs.view(-1, self.out_features).addmm_(low.view(-1, low.shape[-1]), lora[1].t())
        return outputs


def adapt_linears(network: PreTrainedModel, composition: Composition) -> dict[str, AdaptedLinear]:
    """Put an adapted layer in the place of every linear layer but the output head; by name, as peft counts them."""
    head = network.get_output_embeddings()  # type: ignore[no-untyped-call]
    adapted = {}
    for name, module in list(network.named_modules()):
        if type(module) is nn.Linear and module is not head:
            parent, _, attribute = name.rpartition(".")
            adapted[name] = AdaptedLinear(module, name, composition)
            setattr(network.get_submodule(parent), attribute, adapted[name])
    return adapted

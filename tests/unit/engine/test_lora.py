"""Each row of a batch gets its own adapter's product and no other's."""

import torch
from torch import nn

from engine.lora import AdaptedLinear, Adapter, Composition

IN, OUT = 3, 2
CPU = torch.device("cpu")


def make_adapter(name: str, rank: int, *layers: str) -> Adapter:
    generator = torch.Generator().manual_seed(len(name))
    weights = {
        layer: (torch.randn(rank, IN, generator=generator), torch.randn(OUT, rank, generator=generator))
        for layer in layers
    }
    return Adapter(name, f"/{name}", rank, weights)


def expected(linear: nn.Linear, row: torch.Tensor, adapter: Adapter | None, layer: str) -> torch.Tensor:
    output = row @ linear.weight.T + linear.bias
    if adapter is not None and layer in adapter.weights:
        a, b = adapter.weights[layer]
        output = output + row @ a.T @ b.T
    return output


@torch.no_grad()
def test_rows_of_a_mixed_batch_get_what_each_would_get_alone() -> None:
    composition = Composition()
    linears = {layer: nn.Linear(IN, OUT) for layer in ("first", "second", "third")}
    layers = {name: AdaptedLinear(linear, name, composition) for name, linear in linears.items()}
    short = make_adapter("short", 1, "first")
    longer = make_adapter("longer", 4, "first", "second")
    for rows in ([None, short, longer, short], [short, short], [longer, None], [None, None]):
        inputs = torch.randn(len(rows), 5, IN)
        composition.use(rows, CPU)
        for name, layer in layers.items():
            outputs = layer(inputs)
            for place, adapter in enumerate(rows):
                torch.testing.assert_close(outputs[place], expected(linears[name], inputs[place], adapter, name))


def test_a_batch_of_one_adapter_needs_no_mask_and_no_copy() -> None:
    composition = Composition()
    adapter = make_adapter("only", 2, "first")
    composition.use([adapter, adapter], CPU)
    assert composition.mask is None
    assert composition.weights is adapter.weights


def test_an_unloaded_adapter_is_kept_nowhere() -> None:
    composition = Composition()
    one, two = make_adapter("one", 2, "first"), make_adapter("twice", 2, "first")
    composition.use([one, two], CPU)
    first = composition.weights
    composition.use([two, one, two], CPU)
    composition.use([one, two], CPU)
    assert composition.weights is first
    composition.forget(one)
    composition.use([None], CPU)
    composition.use([one, two], CPU)
    assert composition.weights is not first


@torch.no_grad()
def test_an_adapter_that_overflows_leaves_its_neighbours_alone() -> None:
    composition = Composition()
    linear = nn.Linear(IN, OUT)
    layer = AdaptedLinear(linear, "first", composition)
    huge = Adapter("huge", "/huge", 1, {"first": (torch.full((1, IN), 3e38), torch.full((OUT, 1), 3e38))})
    fine = make_adapter("fine", 2, "first")
    inputs = torch.ones(3, 1, IN)
    composition.use([None, huge, fine], CPU)
    outputs = layer(inputs)
    assert not outputs[1].isfinite().any()
    for place, adapter in ((0, None), (2, fine)):
        torch.testing.assert_close(outputs[place], expected(linear, inputs[place], adapter, "first"))

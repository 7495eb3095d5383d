"""Several LoRA adapters on one base model, one of them in use at a time; knows not what they are for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from torch import nn


def adapter_parameters(model: PeftModel, adapter: str) -> dict[str, nn.Parameter]:
    """The weights of one adapter, by names that do not hold its own."""
    mark = f".{adapter}."
    return {name.replace(mark, "."): weight for name, weight in model.named_parameters() if mark in name}


def add_adapter(model: PeftModel, adapter: str, like: str) -> None:
    """A fresh adapter of the same shape as another: it changes nothing until it is trained."""
    in_use = model.active_adapter
    model.add_adapter(adapter, model.peft_config[like])
    model.set_adapter(in_use)


@torch.no_grad()
def copy_adapter(model: PeftModel, source: str, to: str) -> None:
    """Give one adapter another's weights."""
    weights = adapter_parameters(model, source)
    for name, weight in adapter_parameters(model, to).items():
        weight.copy_(weights[name])


@contextmanager
def using(model: PeftModel, adapter: str) -> Iterator[None]:
    """Forward and backward passes inside go through this adapter; afterwards the one before is in use again."""
    before = model.active_adapter
    if before == adapter:
        yield
        return
    model.set_adapter(adapter)
    try:
        yield
    finally:
        model.set_adapter(before)

"""The repeated layers of a transformer, where nearly all its weights and activations are; knows no adapters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def repeated_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that transformers itself never splits, in order; a ValueError if the model does not name them."""
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    # By ancestors: FSDP2 gives a sharded layer a class of its own.
    layers = [layer for layer in model.modules() if kinds & {kind.__name__ for kind in type(layer).__mro__}]
    if not layers:
        raise ValueError(f"{type(model).__name__} does not say which layers it repeats (_no_split_modules).")
    return layers


def recompute_layers(model: nn.Module) -> None:
    """Keep only what enters each layer; a backward pass computes the rest again. Chen et al. 2016.

    Not by the model's own switch: that one asks for training mode, which would bring dropout with it, and takes the
    cache from whoever samples.
    """
    for layer in repeated_layers(model):
        layer.forward = partial(_forward_again, layer.forward)


def _forward_again(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

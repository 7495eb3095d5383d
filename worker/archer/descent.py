"""One optimiser step over any number of partial losses: the only place that calls backward() and step()."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.archer.processes import ALONE, Processes


class NonFiniteUpdateError(ArithmeticError):
    """A loss, a gradient or the policy's logits were not finite; no step is made of them, so all stays as it was."""


class Descent(NamedTuple):
    """What one step saw."""

    loss: float
    grad_norm: float
    """Before clipping."""


def descend(
    optimiser: torch.optim.Optimizer,
    losses: Iterable[Tensor],
    max_grad_norm: float,
    *,
    whose: str,
    episodes: Sequence[str],
    approves: Callable[[], bool] = lambda: True,
    processes: Processes = ALONE,
) -> Descent | None:
    """Sum the gradients of the partial losses, clip them as one network's, step; None if `approves` then says no.

    The partial losses are parts of one mean, so their number does not change the step. Each network clips its own
    gradients: a joint norm would let one network's size shrink the other's step. Several processes each bring their
    share of the partial losses, and take the same step.
    """
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        total += loss.item()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    total = processes.sum_gradients(parameters, total)
    norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm).item()
    if not (math.isfinite(total) and math.isfinite(norm)):
        optimiser.zero_grad(set_to_none=True)
        named = ", ".join(dict.fromkeys(episodes))
        raise NonFiniteUpdateError(f"The {whose}'s loss is {total} and its gradient norm {norm} on episodes {named}.")
    if not approves():
        optimiser.zero_grad(set_to_none=True)
        return None
    optimiser.step()
    return Descent(total, norm)

"""The processes that take an update's steps together; knows no turns, no losses' meaning and no files.

What is large lies in shares: FSDP2 brings the weights of a frozen layer together while it is at work. What is trained
is small and lies whole in each process, so an optimiser, an adapter or a checkpoint is what it is in one process alone,
and the gradients are summed once a step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list, reduce
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from worker.archer.layers import repeated_layers

Part = TypeVar("Part")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that were started together; by default there is no other."""

    index: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> "Processes":
        """Meet the others that `accelerate launch` started, over NCCL or, without GPUs, over gloo; alone without it."""
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether it is this one that writes files."""
        return self.index == 0

    def shard(self, model: PeftModel) -> None:
        """Keep this process' share of each repeated layer, and all the rest, on its device; adapters stay whole.

        Load the model on the processor, call this, then build what reads with it: so no device ever holds all layers.
        By `fully_shard` itself, since accelerate's own way there shards no model on processors, where this is tested.
        """
        if self.count == 1:
            return
        device = PartialState().device
        mesh = init_device_mesh(device.type, (self.count,))
        adapters = {weight for name, weight in model.named_parameters() if "lora_" in name}
        for layer in repeated_layers(model.get_base_model()):
            # Each layer for itself and nothing around them: a critic's reader does not enter by the model's front door.
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=adapters)
        model.to(device)
        with torch.no_grad():
            # Weights that first come together in inference mode, as when sampling, could never be part of a gradient.
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), logits_to_keep=1, use_cache=False)

    def share(self, parts: Sequence[Part]) -> list[tuple[Part, float]]:
        """This process' parts of a step and the weight of each: 0 where one only fills up.

        Each process gets as many, because a layer's weights come together when all processes ask for them.
        """
        mine = [(part, 1.0) for part in parts[self.index :: self.count]]
        return mine + [(part, 0.0) for part in parts[-1:]] * (math.ceil(len(parts) / self.count) - len(mine))

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count == 1:
            return values
        summed: Tensor = reduce(values, reduction="sum")
        return summed

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: float) -> float:
        """Give each process the sum of all gradients; the sum of all losses."""
        if self.count == 1:
            return loss
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        flat = self.total(torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor([loss])]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, summed in zip(gradients, torch.split(flat[:-1], sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))
        return flat[-1].item()

    def same(self, value: Value) -> Value:
        """The main process' value: what is decided from it is decided alike, whatever rounding did elsewhere."""
        if self.count == 1:
            return value
        agreed: Value = broadcast(value) if isinstance(value, Tensor) else broadcast_object_list([value])[0]
        return agreed


ALONE = Processes()

"""A key-value cache that writes into room made beforehand: appending a token does not copy what was read before it."""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 64
"""Positions added when a cache is full."""


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call] # transformers registers subclasses untyped
    """Keys and values of one layer, views of larger tensors."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Start empty."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.room_keys = key_states[:, :, :0]
        self.room_values = value_states[:, :, :0]
        self.keys, self.values = self.room_keys, self.room_values
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append, and give back all there is."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        if end > self.room_keys.shape[2]:
            self.room_keys = _with_room(self.keys, end + ROOM)
            self.room_values = _with_room(self.values, end + ROOM)
        self.room_keys[:, :, start:end] = key_states
        self.room_values[:, :, start:end] = value_states
        self.keys, self.values = self.room_keys[:, :, :end], self.room_values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        assert self.keys is not None
        assert self.values is not None
        # Without the room: the next token makes new room anyway, and copies only what is there.
        self.room_keys, self.room_values = self.keys[indices], self.values[indices]
        self.keys, self.values = self.room_keys, self.room_values


def _with_room(states: Tensor, length: int) -> Tensor:
    rows, heads, used, width = states.shape
    room = torch.zeros(rows, heads, length, width, dtype=states.dtype, device=states.device)
    room[:, :, :used] = states
    return room


def roomy_cache() -> Cache:
    """An empty cache for any model that keeps plain keys and values."""
    return Cache(layer_class_to_replicate=RoomyLayer)

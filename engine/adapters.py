"""Reads peft LoRA folders and keeps what is loaded, by name; a name is never loaded again in place."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import AdapterLoadError, InvalidInputError, NotFoundError
from engine.lora import AdaptedLinear, Adapter

PREFIX = "base_model.model."
# Initialisations that leave the base weights alone; with the others the file alone is not the whole adapter.
PLAIN_INITIALISATIONS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
UNSUPPORTED = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA bias",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "layer replication",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "modules_to_save": "modules_to_save",
    "target_parameters": "target_parameters",
    "trainable_token_indices": "trainable tokens",
}


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    """How many adapters and how large."""

    max_lora_rank: int
    max_cpu_loras: int


class AdapterStore:
    """The adapters that may be named in a request. Whoever decodes with one keeps it alive after it left the store."""

    def __init__(self, base_name: str, layers: dict[str, AdaptedLinear], limits: AdapterLimits) -> None:
        self._base_name = base_name
        self._layers = layers
        self._limits = limits
        self._loaded: dict[str, Adapter] = {}
        self._lock = threading.Lock()

    def find(self, name: str) -> Adapter | None:
        return self._loaded.get(name)

    def list(self) -> list[Adapter]:
        return [*self._loaded.values()]

    def load(self, name: str, path: str) -> Adapter:
        """Read a folder and serve it under a new name. One at a time: two loads of one name must not both succeed."""
        with self._lock:
            self._check_name(name, path)
            adapter = read_adapter(name, Path(path), self._layers, self._limits.max_lora_rank)
            self._loaded[name] = adapter
            return adapter

    def unload(self, name: str) -> Adapter:
        if not name:
            raise InvalidInputError("'lora_name' needs to be provided to unload a LoRA adapter.")
        with self._lock:
            if name not in self._loaded:
                raise NotFoundError(f"The lora adapter '{name}' cannot be found.")
            return self._loaded.pop(name)

    def _check_name(self, name: str, path: str) -> None:
        if not name or not path:
            raise InvalidInputError("Both 'lora_name' and 'lora_path' must be provided.")
        if name == self._base_name:
            raise InvalidInputError(f"The lora adapter '{name}' conflicts with a served base model.")
        if name in self._loaded:
            raise InvalidInputError(
                f"The lora adapter '{name}' has already been loaded. This engine never loads a name in place: "
                "give the new version a name of its own."
            )
        if len(self._loaded) >= self._limits.max_cpu_loras:
            raise AdapterLoadError(
                f"{len(self._loaded)} adapters are loaded and --max-cpu-loras is {self._limits.max_cpu_loras}: "
                "unload one first."
            )


def read_adapter(name: str, folder: Path, layers: dict[str, AdaptedLinear], max_rank: int) -> Adapter:
    """Read and check a whole adapter; nothing of the model changes, so there is nothing to undo when it is refused."""
    if not (folder / "adapter_config.json").is_file():
        raise NotFoundError(f"Loading lora {name} failed: No adapter found for {folder}")
    config = read_config(folder, max_rank)
    tensors = read_tensors(folder)
    weights = {}
    rank = 0
    for module in sorted({key.split(".lora_")[0] for key in tensors}):
        layer = layers.get(module.removeprefix(PREFIX))
        if layer is None:
            raise AdapterLoadError(f"{folder} adapts {module}, which is no linear layer of the served model.")
        a, b = tensors.pop(f"{module}.lora_A.weight", None), tensors.pop(f"{module}.lora_B.weight", None)
        if a is None or b is None:
            raise AdapterLoadError(f"{folder} holds only one of the two matrices of {module}.")
        check_shapes(folder, module, a, b, layer, max_rank)
        like = layer.weight
        b = b.to(torch.float32) * scaling_of(config, module.removeprefix(PREFIX), a.shape[0])
        a, b = a.to(like), b.to(like)
        # An infinity in one adapter would reach its neighbours in a batch, whose part of it is zero times that.
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise AdapterLoadError(f"{module} of {folder} is NaN, infinite or too large for {like.dtype}.")
        weights[module.removeprefix(PREFIX)] = (a, b)
        rank = max(rank, a.shape[0])
    if tensors:
        raise AdapterLoadError(f"{folder} holds {next(iter(tensors))}, which is no LoRA matrix.")
    return Adapter(name, str(folder), rank, equalise_ranks(weights, rank))


def read_config(folder: Path, max_rank: int) -> LoraConfig:
    try:
        settings = json.loads((folder / "adapter_config.json").read_text())
        if settings.get("peft_type") != "LORA":
            raise AdapterLoadError(f"{folder} is a {settings.get('peft_type')} adapter; only LORA is served.")
        config = LoraConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, AttributeError) as error:
        raise AdapterLoadError(f"{folder}/adapter_config.json cannot be read: {error}") from error
    for field, feature in UNSUPPORTED.items():
        if getattr(config, field, None):
            raise AdapterLoadError(f"{folder} uses {feature}, which this engine does not serve.")
    if config.bias != "none":
        raise AdapterLoadError("Adapter bias is not supported.")
    initialisation = config.init_lora_weights
    if isinstance(initialisation, str) and initialisation.lower() not in PLAIN_INITIALISATIONS:
        raise AdapterLoadError(f"{folder} was initialised with {initialisation}, which changes the base weights.")
    rank = max([config.r, *config.rank_pattern.values()])
    if rank > max_rank:
        raise AdapterLoadError(f"LoRA rank {rank} is greater than max_lora_rank {max_rank}.")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """safetensors only: unpickling a file is running it."""
    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise AdapterLoadError(f"{folder} doesn't contain tensors: adapter_model.safetensors is missing.")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AdapterLoadError(f"{path} cannot be read: {error}") from error
    if not tensors:
        raise AdapterLoadError(f"{folder} doesn't contain tensors.")
    return tensors


def check_shapes(folder: Path, module: str, a: Tensor, b: Tensor, layer: AdaptedLinear, max_rank: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise AdapterLoadError(f"{folder}: the matrices of {module} do not fit each other.")
    if a.shape[0] > max_rank:
        raise AdapterLoadError(f"LoRA rank {a.shape[0]} is greater than max_lora_rank {max_rank}.")
    if a.shape[1] != layer.in_features or b.shape[0] != layer.out_features:
        raise AdapterLoadError(
            f"{folder} was trained on another base model: {module} is {b.shape[0]} x {a.shape[1]} there, "
            f"{layer.out_features} x {layer.in_features} here."
        )


def scaling_of(config: LoraConfig, module: str, rank: int) -> float:
    pattern: dict[str, float] = config.alpha_pattern
    alpha: float = pattern.get(get_pattern_key(pattern.keys(), module), config.lora_alpha)
    return alpha / rank**0.5 if config.use_rslora else alpha / rank


def equalise_ranks(weights: dict[str, tuple[Tensor, Tensor]], rank: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Fill up the smaller layers of a `rank_pattern` with zeros, so that one mask fits every layer."""
    return {
        name: (
            torch.cat([a, a.new_zeros(rank - a.shape[0], a.shape[1])]),
            torch.cat([b, b.new_zeros(b.shape[0], rank - b.shape[1])], dim=1),
        )
        for name, (a, b) in weights.items()
    }

"""Whether the two files of a peft LoRA are what every engine can serve; reads them without torch and unpickles nothing.

What only the base model can tell (names of layers, their sizes) and what only arithmetic can (numbers that are not
finite) is left to the engine and to the probe, which a version meets before anybody else.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.domain.errors import InvalidValueError
from core.rollouts.loading import CONFIGURATION, WEIGHTS

MOST_RANK = 256
"""The largest rank that vLLM can be started for; an engine started for less says so when the version is loaded."""
MOST_HEADER_BYTES = 8 * 1024 * 1024
"""Ten times the header of a LoRA on every layer of the largest models."""

NUMBER_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
PREFIX = "base_model.model."
ENDS = (".lora_A.weight", ".lora_B.weight")

UNSERVED = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA bias",
    "modules_to_save": "modules_to_save",
    "rank_pattern": "a rank_pattern, which vLLM scales by the common rank",
    "alpha_pattern": "an alpha_pattern, which vLLM ignores",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "layer replication",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "target_parameters": "target_parameters",
    "trainable_token_indices": "trainable tokens",
}
PLAIN_INITIALISATIONS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Those that leave the base weights alone; after another one the two files are not the whole adapter."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the weights have to agree with."""

    rank: int
    targets: tuple[str, ...]


def read_configuration(text: bytes, base_model: str, declared_base: str | None) -> Configuration:
    """Raises InvalidValueError unless this is a LoRA for that base model which every engine serves."""
    try:
        config = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad("is not JSON") from error
    if not isinstance(config, dict):
        raise _bad("is no JSON object")
    if config.get("peft_type") != "LORA":
        raise _bad("is no LoRA: its peft_type must be LORA")
    _check_base(config.get("base_model_name_or_path") or declared_base, base_model)
    _check_features(config)
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) and name for name in targets):
        raise _bad("must name its target_modules in a list")
    return Configuration(_rank(config), tuple(targets))


def _check_base(named: object, base_model: str) -> None:
    """By the last part of the path: folders and hubs differ between machines."""
    if not named:
        raise InvalidValueError(
            f"{CONFIGURATION} does not name its base model: say in `base_model` that it is {base_model!r}.",
            code="base_model_unknown",
            param="base_model",
        )
    if not isinstance(named, str) or _last_part(named) != _last_part(base_model):
        raise InvalidValueError(
            f"The adapter was trained on another base model than the agent's {base_model!r}.",
            code="base_model_differs",
            param=CONFIGURATION,
        )


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _check_features(config: dict[str, Any]) -> None:
    for field, feature in UNSERVED.items():
        if config.get(field):
            raise _bad(f"uses {feature}: engines do not serve that")
    if config.get("bias", "none") != "none":
        raise _bad("trains biases: engines serve LoRA matrices alone")
    initialisation = config.get("init_lora_weights", True)
    if not isinstance(initialisation, bool) and (
        not isinstance(initialisation, str) or initialisation.lower() not in PLAIN_INITIALISATIONS
    ):
        raise _bad("was initialised in a way that changes the base weights")


def _rank(config: dict[str, Any]) -> int:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= MOST_RANK:
        raise _bad(f"must have a rank `r` from 1 to {MOST_RANK}")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha) or alpha <= 0:
        raise _bad("must have a lora_alpha above 0")
    return rank


def check_weights(file: Path, configuration: Configuration) -> int:
    """How many layers it adapts. Raises InvalidValueError unless the file is whole and holds pairs of that rank."""
    tensors = read_header(file)
    pairs: dict[str, set[str]] = {}
    for name, tensor in tensors.items():
        end = next((end for end in ENDS if name.endswith(end)), None)
        if end is None or not name.startswith(PREFIX):
            raise _damaged(f"holds {_short(name)}, which is no matrix of a LoRA")
        layer = name.removeprefix(PREFIX).removesuffix(end)
        if not any(layer == target or layer.endswith(f".{target}") for target in configuration.targets):
            raise _damaged(f"adapts {_short(layer)}, which is none of the target_modules")
        shape = tensor["shape"]
        if shape[0 if end == ENDS[0] else 1] != configuration.rank:
            raise _damaged(f"has a {_short(name)} that is not of rank {configuration.rank}")
        pairs.setdefault(layer, set()).add(end)
    for layer, ends in pairs.items():
        if len(ends) != len(ENDS):
            raise _damaged(f"holds only one of the two matrices of {_short(layer)}")
    return len(pairs)


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """Each tensor's description, after the file has proved to hold exactly what its header says."""
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 8 or length > min(MOST_HEADER_BYTES, size - 8):
            raise _damaged("is no whole safetensors file")
        try:
            header = orjson.loads(content.read(length))
        except orjson.JSONDecodeError as error:
            raise _damaged("has a header that is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged("has a header that is no object")
    header.pop("__metadata__", None)
    if not header:
        raise _damaged("holds no tensors")
    _check_places(header, size - 8 - length)
    return header


def _check_places(header: dict[str, Any], size: int) -> None:
    """The tensors must fill the rest of the file: no holes, no overlaps, nothing behind the last."""
    places = sorted(_place(name, tensor) for name, tensor in header.items())
    reached = 0
    for begin, end in places:
        if begin != reached:
            raise _damaged("has a header that does not describe its content")
        reached = end
    if reached != size:
        raise _damaged("is cut off, or holds more than its header says")


def _place(name: str, tensor: Any) -> tuple[int, int]:
    match tensor:
        case {"dtype": str(dtype), "shape": [int(rows), int(columns)], "data_offsets": [int(begin), int(end)]}:
            if dtype not in NUMBER_BYTES:
                raise _damaged("holds numbers that are not F32, F16 or BF16")
            fits = end - begin == rows * columns * NUMBER_BYTES[dtype]
            if fits and begin >= 0 and rows > 0 and columns > 0:
                return begin, end
    raise _damaged(f"has a header that makes no sense at {_short(name)}")


def _short(name: str) -> str:
    return repr(name[:100])


def _bad(what: str) -> InvalidValueError:
    return InvalidValueError(f"{CONFIGURATION} {what}.", code="adapter_unsuitable", param=CONFIGURATION)


def _damaged(what: str) -> InvalidValueError:
    return InvalidValueError(f"{WEIGHTS} {what}.", code="adapter_unsuitable", param=WEIGHTS)

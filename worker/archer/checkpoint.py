"""The learner's state on disk: written whole or not at all, read only into the architecture that wrote it."""

import os
from pathlib import Path
from typing import Any

import torch

from worker.archer.actor import ADAPTER, Actor
from worker.archer.critic import Critic

FORMAT = 2

Architecture = dict[str, str]


class CheckpointError(ValueError):
    """A checkpoint cannot be restored; the message says what differs and what to do."""


def critic_architecture(critic: Critic) -> Architecture:
    """What a critic's numbers mean anything for: its heads, what it reads with, and a frozen reader's very weights."""
    heads = critic.heads
    described = {
        "critic heads": f"{len(heads.q)} {heads.kind}, {heads.state_width} and {heads.action_width} -> {heads.hidden}"
    }
    return described | critic.reader.architecture()


def actor_architecture(actor: Actor) -> Architecture:
    """What an adapter's numbers fit: the base's shape and the LoRA's."""
    lora = actor.model.peft_config[ADAPTER]
    # The base's own: how many adapters lie on it depends on what else was asked of it.
    size = sum(weight.numel() for name, weight in actor.model.named_parameters() if "lora_" not in name)
    return {
        "base model": f"{actor.model.config.model_type}, {size} parameters",
        "LoRA": f"rank {lora.r}, alpha {lora.lora_alpha}",
    }


def write_checkpoint(path: Path, architecture: Architecture, state: dict[str, Any]) -> None:
    """Write beside, flush to the disk, rename: a reader sees the old checkpoint or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            torch.save({"format": FORMAT, "architecture": architecture, "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


def read_checkpoint(path: Path, expected: Architecture) -> dict[str, Any]:
    """The state in the file, if it was written for `expected`."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no {path.name} in {path.parent.name}; start without it.") from error
    except Exception as error:  # torch raises zip, pickle and runtime errors for a file that is not its own
        raise CheckpointError(f"{path.name} is damaged or no checkpoint; start without it. ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is not a checkpoint of format {FORMAT}; start without it.")
    written = content["architecture"]
    differing = [
        f"{part}: it has {written.get(part)!r}, this learner {value!r}"
        for part, value in expected.items()
        if written.get(part) != value
    ]
    if differing:
        raise CheckpointError(
            f"{path.name} was written by another architecture; start without it or restore the settings. "
            f"{'; '.join(differing)}."
        )
    state: dict[str, Any] = content["state"]
    return state

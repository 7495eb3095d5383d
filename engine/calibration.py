"""Which number format decodes fastest on this processor: measured once, then remembered in a file."""

import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from engine.batch import Row, RunningBatch
from engine.lora import Composition
from engine.model import open_model
from engine.sampling import SamplerRow, Sampling

CANDIDATES = (torch.float32, torch.bfloat16)
CONCURRENT_REQUESTS = 8
PROMPT_TOKENS = 64
MEASURED_SECONDS = 2.0


def choose_dtype(model: str, device: torch.device, file: Path) -> torch.dtype:
    """bfloat16 on a GPU; on a processor what had the most tokens a second at 8 concurrent requests."""
    if device.type != "cpu":
        return torch.bfloat16
    key = calibration_key(model)
    remembered = read_calibrations(file)
    if key in remembered:
        return dtype_named(remembered[key]["dtype"])
    say(f"Measuring which number format is fastest on this processor (once; remembered in {file}) …")
    speeds = {}
    for dtype in CANDIDATES:
        if not fits_in_memory(model, dtype):
            say(f"  {name_of(dtype)}: would not fit in this machine's memory")
            continue
        speeds[name_of(dtype)] = measure(model, dtype, device)
        say(f"  {name_of(dtype)}: {speeds[name_of(dtype)]:.0f} tokens a second at {CONCURRENT_REQUESTS} requests")
    chosen = max(speeds, key=lambda name: speeds[name]) if speeds else name_of(torch.bfloat16)
    write_calibrations(file, remembered | {key: {"dtype": chosen, "tokens_per_second": speeds}})
    say(f"Using {chosen}.")
    return dtype_named(chosen)


def measure(model: str, dtype: torch.dtype, device: torch.device) -> float:
    """Tokens a second of a full batch."""
    opened = open_model(model, dtype, device, None)
    batch: RunningBatch[Row] = RunningBatch(opened, Composition())
    vocabulary_size: int = opened.network.config.get_text_config().vocab_size
    prompt = [(index * 7) % vocabulary_size for index in range(PROMPT_TOKENS)]
    batch.join([Row(prompt, SamplerRow(Sampling(temperature=0.0))) for _ in range(CONCURRENT_REQUESTS)])
    batch.step()
    start = time.monotonic()
    steps = 0
    while time.monotonic() - start < MEASURED_SECONDS:
        batch.step()
        steps += 1
    return steps * CONCURRENT_REQUESTS / (time.monotonic() - start)


def fits_in_memory(model: str, dtype: torch.dtype) -> bool:
    """Whether the weights leave a third of the free memory to everything else; a hub id is not measured before."""
    files = [*Path(model).glob("*.safetensors")]
    if not files:
        return True
    stored = json.loads((Path(model) / "config.json").read_text()).get("dtype") or "float32"
    width = 4 if stored == "float32" else 2
    weights = sum(file.stat().st_size for file in files) / width * torch.finfo(dtype).bits / 8
    return weights < psutil.virtual_memory().available * 2 / 3


def calibration_key(model: str) -> str:
    """Whatever can change the answer: processor, threads, model, libraries."""
    return " | ".join(
        (
            processor_name(),
            f"{torch.get_num_threads()} threads",
            str(Path(model).resolve()) if Path(model).exists() else model,
            f"torch {torch.__version__}",
            f"transformers {version('transformers')}",
        )
    )


def processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        known = dict(line.split(":", 1) for line in lines if ":" in line)
        names = {key.strip(): value.strip() for key, value in known.items()}
        return " ".join(names.get(key, "") for key in ("model name", "cpu family", "model")).strip()
    return platform.processor() or platform.machine()


def read_calibrations(file: Path) -> dict[str, dict[str, object]]:
    """What is remembered; a damaged file is measured again, not believed."""
    try:
        remembered: dict[str, dict[str, object]] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    names = {name_of(dtype) for dtype in CANDIDATES}
    return {key: entry for key, entry in remembered.items() if isinstance(entry, dict) and entry.get("dtype") in names}


def write_calibrations(file: Path, calibrations: dict[str, dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(json.dumps(calibrations, indent=2) + "\n")
    temporary.replace(file)


def dtype_named(name: object) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, str(name))
    return dtype


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def say(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()

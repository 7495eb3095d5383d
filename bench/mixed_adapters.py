"""One decode step of a batch that mixes adapters: side by side in one forward, one forward an adapter, peft's way."""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, DynamicCache

from bench.engine import write_adapter
from engine.adapters import AdapterLimits, AdapterStore
from engine.batch import Row, RunningBatch
from engine.launching import quieten_libraries
from engine.lora import Composition, adapt_linears
from engine.model import open_model
from engine.sampling import SamplerRow, Sampling

RESULTS = Path(__file__).parent / "results" / "mixed_adapters.json"
PROMPT = [(7 * i) % 256 for i in range(64)]


def our_steps(model: Path, folders: list[Path], count: int) -> dict[str, Callable[[], None]]:
    """The engine's batch, mixed, grouped by adapter, and with one adapter for all."""
    opened = open_model(str(model), torch.float32, torch.device("cpu"), None)
    composition = Composition()
    store = AdapterStore("base", adapt_linears(opened.network, composition), AdapterLimits(16, 64))
    adapters = [store.load(folder.name, str(folder)) for folder in folders]

    def batch_of(names: list[int]) -> RunningBatch[Row]:
        batch: RunningBatch[Row] = RunningBatch(opened, composition)
        batch.join([Row(PROMPT, SamplerRow(Sampling(temperature=0.0)), adapters[name]) for name in names])
        return batch

    mixed = batch_of([i % len(adapters) for i in range(count)])
    one = batch_of([0] * count)
    groups = [batch_of([name] * (count // len(adapters))) for name in range(len(adapters))]

    def again(batch: RunningBatch[Row]) -> None:
        batch._prepared = None  # each batch takes its turn with the one composition, so it must be set again
        batch.step()

    def again_each() -> None:
        for group in groups:
            again(group)

    return {"one adapter": lambda: again(one), "side by side": lambda: again(mixed), "grouped": again_each}


def peft_steps(model: Path, folders: list[Path], count: int) -> dict[str, Callable[[], None]]:
    """peft with one adapter active, and its mixed batches by `adapter_names`."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    network = PeftModel.from_pretrained(base, folders[0], adapter_name=folders[0].name).eval()
    for folder in folders[1:]:
        network.load_adapter(folder, adapter_name=folder.name)
    network.set_adapter(folders[0].name)
    names = [folders[i % len(folders)].name for i in range(count)]

    def stepper(**extra: Any) -> Callable[[], None]:
        cache = DynamicCache(config=base.config)
        with torch.inference_mode():
            network(input_ids=torch.tensor([PROMPT] * count), past_key_values=cache, logits_to_keep=1, **extra)
        token = torch.tensor([[5]] * count)

        def step() -> None:
            with torch.inference_mode():
                network(input_ids=token, past_key_values=cache, use_cache=True, **extra).logits.argmax(-1)

        return step

    return {"peft, one adapter": stepper(), "peft, adapter_names": stepper(adapter_names=names)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(".nock/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    quieten_libraries()
    torch.set_num_threads(options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folders = [write_adapter(options.model, Path(folder) / f"a{i}") for i in range(4)]
        for count in options.batches:
            steps = our_steps(options.model, folders, count) | peft_steps(options.model, folders, count)
            seconds: dict[str, list[float]] = {name: [] for name in steps}
            for _ in range(options.steps):
                for name, step in steps.items():
                    start = time.perf_counter()
                    step()
                    seconds[name].append(time.perf_counter() - start)
            for name, values in seconds.items():
                rows.append({"rows": count, "adapters": 4, "way": name, "step_seconds": statistics.median(values)})
                print(f"{count:3} rows  {name:20} {1000 * statistics.median(values):7.1f} ms a step", flush=True)
    result = {"threads": options.threads, "load_average": os.getloadavg(), "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Tokens a second of the embedded engine, through HTTP, beside transformers' `generate` on equal prompts and dtype."""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.calibration import processor_name
from engine.launching import quieten_libraries
from engine.packaged_model import write_packaged_model

RESULTS = Path(__file__).parent / "results" / "engine.json"
SUBJECTS = ("rain", "bread", "ships", "clocks", "salt", "owls", "glass", "tea")
Messages = list[dict[str, str]]


def make_prompts(count: int) -> list[Messages]:
    """Questions of nearly one length: padding is not what is measured."""
    return [
        [{"role": "user", "content": f"Question {i:02d}: tell me in a few sentences what people know about {subject}."}]
        for i, subject in ((i, SUBJECTS[i % len(SUBJECTS)]) for i in range(count))
    ]


def write_adapter(model: Path, folder: Path) -> Path:
    """A random LoRA of rank 8 over every linear layer, as the learner trains them."""
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    adapted.save_pretrained(folder)
    return folder


class Generate:
    """The yardstick: `generate` on one left-padded batch."""

    def __init__(self, model: Path, adapter: Path, dtype: torch.dtype) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        base: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        base.generation_config.eos_token_id = None  # all of them say as many tokens as they may
        adapted = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self._networks = {"base": base, "adapter": PeftModel.from_pretrained(adapted, adapter).eval()}
        self._networks["adapter"].generation_config.eos_token_id = None

    def run(self, prompts: list[Messages], which: str, new_tokens: int, *, sampled: bool) -> float:
        start = time.perf_counter()
        inputs: Any = self._tokenizer.apply_chat_template(
            prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        choice: dict[str, Any] = (
            {"do_sample": True, "temperature": 1.0, "top_k": 0} if sampled else {"do_sample": False}
        )
        with torch.inference_mode():
            output = self._networks[which].generate(**inputs, max_new_tokens=new_tokens, **choice)
        assert output.shape[1] - inputs["input_ids"].shape[1] == new_tokens
        return time.perf_counter() - start


class Ours:
    """The engine, asked over HTTP by as many clients as there are prompts."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"

    def run(self, prompts: list[Messages], which: str, new_tokens: int, *, sampled: bool) -> float:
        return asyncio.run(self._run(prompts, which, new_tokens, sampled))

    async def _run(self, prompts: list[Messages], which: str, new_tokens: int, sampled: bool) -> float:
        # As the gateway asks where it samples: with log-probs and token ids.
        asked = {"temperature": 1.0, "logprobs": True, "return_token_ids": True} if sampled else {"temperature": 0.0}
        body = {"model": which, "max_tokens": new_tokens, "ignore_eos": True, **asked}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1800)) as http:
            start = time.perf_counter()
            answers = await asyncio.gather(*(self._ask(http, body | {"messages": prompt}) for prompt in prompts))
            seconds = time.perf_counter() - start
        assert all(answer["usage"]["completion_tokens"] == new_tokens for answer in answers)
        return seconds

    async def _ask(self, http: aiohttp.ClientSession, body: dict[str, Any]) -> dict[str, Any]:
        async with http.post(self._url, json=body) as answer:
            answer.raise_for_status()
            parsed: dict[str, Any] = await answer.json()
            return parsed

    def first_token(self, prompts: list[Messages], which: str) -> float:
        """Seconds to the first token of a stream, the median over the concurrent clients."""
        return asyncio.run(self._first_token(prompts, which))

    async def _first_token(self, prompts: list[Messages], which: str) -> float:
        async with aiohttp.ClientSession() as http:
            return statistics.median(await asyncio.gather(*(self._time_first(http, which, p) for p in prompts)))

    async def _time_first(self, http: aiohttp.ClientSession, which: str, prompt: Messages) -> float:
        body = {"model": which, "messages": prompt, "max_tokens": 2, "ignore_eos": True, "stream": True}
        start = time.perf_counter()
        async with http.post(self._url, json=body) as answer:
            events = 0
            async for line in answer.content:
                events += line.startswith(b"data:")
                if events == 2:  # the first chunk names the role, the second holds the token
                    break
            return time.perf_counter() - start


@contextmanager
def serving(model: Path, adapter: Path, dtype: str, port: int, threads: int) -> Iterator[Ours]:
    """The engine as a process of its own."""
    command = [sys.executable, "-m", "engine", "--model", str(model), "--served-model-name", "base", "--dtype", dtype]
    process = subprocess.Popen([*command, "--port", str(port), "--threads", str(threads)])
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        lora = json.dumps({"lora_name": "adapter", "lora_path": str(adapter)}).encode()
        headers = {"content-type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{url}/v1/load_lora_adapter", lora, headers)).close()
        yield Ours(url)
    finally:
        process.terminate()
        process.wait(60)


def compare(ours: Ours, theirs: Generate, options: argparse.Namespace, dtype: str) -> Iterator[dict[str, Any]]:
    """Every case, the two in turn, so that whatever else the machine does meets both."""
    for which in ("base", "adapter"):
        for count, sampled in [(count, False) for count in options.batches] + [(8, True)]:
            prompts = make_prompts(count)
            for engine in (ours, theirs):
                engine.run(prompts, which, 4, sampled=sampled)  # the first run of a shape pays for memory
            seconds: dict[str, list[float]] = {"ours": [], "generate": []}
            for _ in range(options.repeats):
                seconds["ours"].append(ours.run(prompts, which, options.new_tokens, sampled=sampled))
                seconds["generate"].append(theirs.run(prompts, which, options.new_tokens, sampled=sampled))
            tokens = count * options.new_tokens
            row = {
                "dtype": dtype,
                "weights": which,
                "requests": count,
                "sampling": "temperature 1, log-probs" if sampled else "greedy",
                "ours_tokens_per_second": tokens / statistics.median(seconds["ours"]),
                "generate_tokens_per_second": tokens / statistics.median(seconds["generate"]),
                "ratio": statistics.median(g / o for o, g in zip(seconds["ours"], seconds["generate"], strict=True)),
                "first_token_seconds": ours.first_token(prompts, which),
                "seconds": seconds,
            }
            show(row)
            yield row


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['dtype']:9} {row['weights']:8} {row['requests']:3} requests  {row['sampling']:25} "
        f"ours {row['ours_tokens_per_second']:7.1f}  generate {row['generate_tokens_per_second']:7.1f} tokens/s  "
        f"ratio {row['ratio']:.2f}  first token {row['first_token_seconds'] * 1000:.0f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model folder (default: SmolLM2 out of its package)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=8917)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    quieten_libraries()
    torch.set_num_threads(options.threads)
    model = options.model or Path(os.environ.get("NOCK_HOME", ".nock")) / "models" / "SmolLM2-135M-Instruct"
    if options.model is None:
        write_packaged_model(model)
    rows: list[dict[str, Any]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the engine ends with its benchmark
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        adapter = write_adapter(model, Path(folder) / "adapter")
        for dtype in options.dtypes:
            theirs = Generate(model, adapter, getattr(torch, dtype))
            with serving(model, adapter, dtype, options.port, options.threads) as ours:
                for row in compare(ours, theirs, options, dtype):
                    rows.append(row)
                    save(rows, load_before, options)
    print(f"\nworst ratio {min(row['ratio'] for row in rows):.2f}; written to {RESULTS}")


def save(rows: list[dict[str, Any]], load_before: tuple[float, float, float], options: argparse.Namespace) -> None:
    """After each case: an hour's measurements must not hang on the last one."""
    result = {
        "processor": processor_name(),
        "threads": options.threads,
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "torch": torch.__version__,
        "model": options.model.name if options.model else "SmolLM2-135M-Instruct",
        "new_tokens": options.new_tokens,
        "repeats": options.repeats,
        "rows": rows,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

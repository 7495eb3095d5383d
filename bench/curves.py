"""One learning curve: a method plays, learns, and is measured on fixed games; its file is resumed, never run twice."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from bench.methods.method import Method
from bench.playing.games import Played
from sim.task import Task

EVALUATION_SEEDS = range(5_000_000, 5_000_512)
SAVE_SECONDS = 300
MAX_NEW_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Curve:
    """Which curve, and where its points and its state lie."""

    task: Task
    policy: Path
    method: str
    seed: int
    budget: int
    """Conversations, warm-up included."""
    file: Path
    state: Path


def evaluation_points(budget: int) -> list[int]:
    """Where the policy is measured: at the start, then at steps of √2, and at the end."""
    points, place = [0], 64.0
    while place < budget:
        points.append(round(place))
        place *= 2**0.5
    return [*points, budget]


def run_curve(curve: Curve, build: Callable[[], Method], described: dict[str, Any]) -> dict[str, Any]:
    """Play, learn and measure until the budget is spent; gives back the whole record, which is the file too."""
    tokenizer = AutoTokenizer.from_pretrained(curve.policy)
    method = build()
    generator = torch.Generator().manual_seed(1_000 + curve.seed)
    record = _begin(curve, described)
    if record.get("finished"):
        return record
    if (curve.state / "curve.json").is_file():
        method.restore(curve.state)
        record = json.loads((curve.state / "curve.json").read_text())
        generator.set_state(torch.load(curve.state / "generator.pt"))
    saved = time.monotonic()
    started = time.monotonic() - record["seconds"]
    while True:
        done = record["conversations"]
        due = [point for point in evaluation_points(curve.budget) if point > record["measured_at"] and point <= done]
        if due or not record["points"]:
            record["points"].append(_measure(curve, method, tokenizer, record))
            record["measured_at"] = done
            _write(curve.file, record)
        if done >= curve.budget:
            break
        # Seeds of no other curve's and of no evaluation: every method and seed meets users of its own.
        seeds = [10_000 * 100 * (1 + curve.seed) + done + number for number in range(method.per_step)]
        played = method.play(tokenizer, curve.task, seeds, generator=generator, max_new_tokens=MAX_NEW_TOKENS)
        figures = method.learn(played)
        record["conversations"] = done + len(played)
        record["tokens"] += sum(game.tokens for game in played)
        record["seconds"] = time.monotonic() - started
        record["updates"].append({"conversations": record["conversations"], "return": _mean(played), **figures})
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(curve, method, generator, record)
            saved = time.monotonic()
    record["finished"] = True
    _write(curve.file, record)
    return record


def _begin(curve: Curve, described: dict[str, Any]) -> dict[str, Any]:
    if curve.file.is_file():
        record: dict[str, Any] = json.loads(curve.file.read_text())
        if record["finished"]:
            return record
    return {
        "task": curve.task.name,
        "method": curve.method,
        "seed": curve.seed,
        "budget": curve.budget,
        "optimum": curve.task.optimum,
        "described": described,
        "conversations": 0,
        "tokens": 0,
        "seconds": 0.0,
        "measured_at": -1,
        "points": [],
        "updates": [],
        "finished": False,
    }


def _measure(curve: Curve, method: Method, tokenizer: Any, record: dict[str, Any]) -> dict[str, float]:
    """The policy on the fixed games, at temperature 1, with the same draws each time."""
    generator = torch.Generator().manual_seed(0)
    began = time.monotonic()
    played = method.play(tokenizer, curve.task, EVALUATION_SEEDS, generator=generator, max_new_tokens=MAX_NEW_TOKENS)
    return {
        "conversations": record["conversations"],
        "tokens": record["tokens"],
        "seconds": record["seconds"],
        "return": _mean(played),
        "won": sum(game.end == "terminal" for game in played) / len(played),
        "evaluation_seconds": time.monotonic() - began,
    }


def _mean(played: Sequence[Played]) -> float:
    return sum(game.total for game in played) / len(played)


def _save(curve: Curve, method: Method, generator: torch.Generator, record: dict[str, Any]) -> None:
    """curve.json comes last: a state without it is not there."""
    curve.state.mkdir(parents=True, exist_ok=True)
    (curve.state / "curve.json").unlink(missing_ok=True)
    method.save(curve.state)
    torch.save(generator.get_state(), curve.state / "generator.pt")
    _write(curve.state / "curve.json", record)
    _write(curve.file, record)


def _write(file: Path, record: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.replace(file)

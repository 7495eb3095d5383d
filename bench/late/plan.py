"""Which runs the experiment is made of, where each one's file lies, and how one is run in a process of its own."""

import argparse
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from bench.late.experiment import Experiment, run
from bench.late.ways import WAYS, uncapped
from bench.policies.recipe import policy_folder
from sim.catalogue import find_task

TASK = "support-desk"
RESULTS = Path(__file__).parents[1] / "results" / "late"
DELAYS = (0, 10, 100, 1_000)
SEEDS = range(5)
OUTCOMES, CONVERSATIONS = 4_000, 5_000
POISONED = 0.05


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: a way at a delay with a seed, poisoned or not."""

    way: str
    delay: int
    seed: int
    is_poisoned: bool = False

    @property
    def file(self) -> Path:
        """Where its record lies once it has ended."""
        poisoned = "-poisoned" if self.is_poisoned else ""
        return RESULTS / "runs" / f"{self.way}{poisoned}-{self.delay}-{self.seed}.json"

    @property
    def arguments(self) -> list[str]:
        """What names it on the command line."""
        named = ["--way", self.way, "--delay", str(self.delay), "--seed", str(self.seed)]
        return [*named, "--poisoned"] if self.is_poisoned else named


def plan() -> list[Planned]:
    """Every run, the most telling first. Nothing here was chosen after a run of these seeds was seen."""
    wanted = [Planned("nock", delay, seed) for seed in SEEDS for delay in (0, 1_000)]
    wanted += [Planned(way, 0, seed, is_poisoned=True) for seed in SEEDS for way in ("nock", "uncapped")]
    others = [way for way in WAYS if way != "nock"]
    wanted += [Planned(way, 1_000, seed) for seed in SEEDS for way in others]
    wanted += [Planned("nock", delay, seed) for seed in SEEDS for delay in (10, 100)]
    compared = [way for way in others if way != "only-matured"]
    return wanted + [Planned(way, delay, seed) for delay in (100, 0, 10) for seed in SEEDS for way in compared]


def main() -> None:
    """Run one to its end and write its record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--way", required=True, choices=sorted(WAYS | {"uncapped": uncapped}))
    parser.add_argument("--delay", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--poisoned", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)  # several runs side by side
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    warnings.filterwarnings("ignore", category=FutureWarning)
    policy = policy_folder(find_task(TASK), Path(os.environ.get("NOCK_HOME", ".nock")) / "bench" / "policies")
    planned = Planned(given.way, given.delay, given.seed, given.poisoned)
    way = (WAYS | {"uncapped": uncapped})[given.way]
    experiment = Experiment(way, given.delay, given.seed, POISONED if given.poisoned else 0.0)
    record = run(experiment, policy, outcomes=OUTCOMES, conversations=CONVERSATIONS)
    planned.file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = planned.file.with_suffix(f".{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.replace(planned.file)


if __name__ == "__main__":
    main()

"""Runs one curve in a process of its own, on one thread; `--help` says how."""

import argparse
import os
import warnings
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from bench.ablation_runs import ABLATIONS
from bench.curves import Curve, run_curve
from bench.policies.recipe import policy_folder
from bench.runs import METHODS
from sim.catalogue import find_task

RESULTS = Path(__file__).parent / "results" / "curves"


def curve_file(task: str, method: str, seed: int) -> Path:
    """Where a curve lies."""
    return RESULTS / task / f"{method}-{seed}.json"


def main() -> None:
    """Run it to its end, or go on where it was left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", required=True)
    parser.add_argument("--method", required=True, choices=sorted(METHODS | ABLATIONS))
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--budget", type=int, required=True, help="conversations, warm-up included")
    parser.add_argument("--policy", type=Path, help="a transformers folder to start from; the task's own if left out")
    given = parser.parse_args()
    torch.set_num_threads(1)  # several curves run side by side
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    warnings.filterwarnings("ignore", category=FutureWarning)
    home = Path(os.environ.get("NOCK_HOME", ".nock")) / "bench"
    task = find_task(given.task)
    policy = given.policy or policy_folder(task, home / "policies")
    compared = (METHODS | ABLATIONS)[given.method]
    curve = Curve(
        task=task,
        policy=policy,
        method=given.method,
        seed=given.seed,
        budget=given.budget,
        file=curve_file(task.name, given.method, given.seed),
        state=home / "curves" / task.name / f"{given.method}-{given.seed}",
    )
    run_curve(curve, lambda: compared.build(policy, given.seed), compared.described)


if __name__ == "__main__":
    main()

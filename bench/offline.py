"""Learning from logged conversations alone: the offline preset beside cloning and filtered cloning, on the same games.

The start policy's games are played once for each seed; no method ever plays again. `python -m bench.offline` runs
what is missing and prints the table.
"""

import argparse
import json
import os
import statistics
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from bench.curves import EVALUATION_SEEDS, MAX_NEW_TOKENS
from bench.methods.archer import Archer
from bench.methods.filtered_bc import FilteredBC, FilteredBCConfig
from bench.methods.method import Method
from bench.playing.games import Played, play
from bench.policies.recipe import policy_folder
from bench.runs import SHAPE
from sim.catalogue import find_task
from worker.archer.presets import OFFLINE

RESULT = Path(__file__).parent / "results" / "offline.json"
TASK = "twenty-questions-10"
GAMES = 1_024
UPDATES = 8
SEEDS = 3
CLONING = FilteredBCConfig(share=1.0, window=None, passes=1)
IQL_AWR = replace(OFFLINE, **SHAPE, actor_lr=1e-3, actor_epochs=1)

METHODS: dict[str, Callable[[Path, int], Method]] = {
    "iql-awr": lambda policy, seed: Archer(policy, IQL_AWR, per_step=GAMES, replay=GAMES, seed=seed),
    "iql-reinforce": lambda policy, seed: Archer(
        policy, replace(IQL_AWR, actor_objective="reinforce"), per_step=GAMES, replay=GAMES, seed=seed
    ),
    "bc": lambda policy, seed: FilteredBC(policy, CLONING, seed=seed),
    "filtered-bc": lambda policy, seed: FilteredBC(policy, replace(CLONING, share=0.1, passes=10), seed=seed),
}
"""Each update passes over as many turns: all games once, or the best tenth ten times."""


def run(method: Method, policy: Path, seed: int) -> list[float]:
    """The return on the fixed games before the first update and after each."""
    task, tokenizer = find_task(TASK), AutoTokenizer.from_pretrained(policy)

    def games(seeds: range, draws: int) -> list[Played]:
        generator = torch.Generator().manual_seed(draws)
        return play(method.player, tokenizer, task, seeds, generator=generator, max_new_tokens=MAX_NEW_TOKENS)

    def measure() -> float:
        return statistics.mean(game.total for game in games(EVALUATION_SEEDS, 0))

    logged = games(range(GAMES * (1 + seed), GAMES * (2 + seed)), 1 + seed)
    returns = [measure()]
    for update in range(UPDATES):
        method.learn(logged if update == 0 else [])
        returns.append(measure())
        print(f"seed {seed}, update {update + 1}: {returns[-1]:.2f}", flush=True)
    return returns


def main() -> None:
    """Run what is missing, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped in transformers
    warnings.filterwarnings("ignore", category=FutureWarning)
    policy = policy_folder(find_task(TASK), Path(os.environ.get("NOCK_HOME", ".nock")) / "bench" / "policies")
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"task": TASK, "games": GAMES}
    for seed in range(SEEDS):
        for name, build in METHODS.items():
            done = result.setdefault(name, {})
            if str(seed) not in done:
                print(f"{name}, seed {seed}", flush=True)
                done[str(seed)] = run(build(policy, seed), policy, seed)
                RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print("| method | start | after the last update, median over seeds | each seed |\n| --- | --- | --- | --- |")
    for name in METHODS:
        last = [returns[-1] for returns in result[name].values()]
        start = statistics.median(returns[0] for returns in result[name].values())
        each = ", ".join(f"{value:.2f}" for value in last)
        print(f"| {name} | {start:.2f} | {statistics.median(last):.2f} | {each} |")


if __name__ == "__main__":
    main()

"""Requests a second of one gateway process and of two, on the same machine.

The load and the mock engine use processors too, which nobody has to give to them in production: with as many gateways
as cores, all cores are busy, and what these two took is taken out.
"""

import argparse
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.gateway import targets
from bench.gateway.cases import measure
from bench.gateway.stack import running

RESULT = Path(__file__).parents[1] / "results" / "gateway_scaling.json"
PROCESSES = (1, 2)
FIGURES = ("per_second", "client_cpu", "server_cpu", "engine_cpu", "postgres_cpu")


def taken_out(figures: dict[str, Any], cores: int) -> float:
    """Requests a second, had the load and the engine used no processor of those that the gateways wanted."""
    others = figures["client_cpu"] + figures["engine_cpu"]
    return float(figures["per_second"] * cores / (cores - others))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    rounds: list[dict[int, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, ExitStack() as stack:
        ground = stack.enter_context(running(Path(name)))
        by_count = {
            count: stack.enter_context(
                targets.nock(
                    ground.folder, ground.database_url, ground.engine_url, ground.key, name=f"x{count}", processes=count
                )
            )
            for count in PROCESSES
        }
        load = ["--in-flight=32"]
        for target in by_count.values():
            measure(target, [*load, "--seconds=2"], ground.bystanders)
        for _ in range(given.rounds):
            rounds.append(
                {
                    count: measure(target, [*load, f"--seconds={given.seconds}"], ground.bystanders)
                    for count, target in by_count.items()
                }
            )
    one, two = PROCESSES
    ratio = statistics.median(taken_out(played[two], cores) / played[one]["per_second"] for played in rounds)
    plain = statistics.median(played[two]["per_second"] / played[one]["per_second"] for played in rounds)
    told = {"cores": cores, "two_over_one": plain, "two_over_one_load_taken_out": ratio, "rounds": rounds}
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    for count in PROCESSES:
        medians = {key: statistics.median(played[count][key] for played in rounds) for key in FIGURES}
        print(f"{count} process(es): " + ", ".join(f"{key} {value:.2f}" for key, value in medians.items()))
    print(f"two over one: {plain:.2f}; with the load's and the engine's share taken out: {ratio:.2f}")


if __name__ == "__main__":
    main()

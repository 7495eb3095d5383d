"""`python -m bench.gateway`: what a gateway adds to an engine's answer, and how many it carries, Nock beside others.

A mock engine on loopback, one load at a time; the targets take turns within each case of each round, so that a machine
that drifts slows all of them, and differences and ratios are taken within a round. Nock keeps every turn, durably.
"""

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.gateway import durability, gateways
from bench.gateway.cases import CASES, measure
from bench.gateway.reporting import summary
from bench.gateway.stack import running
from bench.gateway.table import table
from bench.gateway.targets import Target

RESULT = Path(__file__).parents[1] / "results" / "gateway.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in each round")
    parser.add_argument("--short", action="store_true", help="two rounds of a second each")
    parser.add_argument("--only", default=",".join(gateways.ALL), help="targets, comma between; direct is always there")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.short:
        given.rounds, given.seconds = 2, 1.0
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, ExitStack() as stack:
        ground = stack.enter_context(running(Path(name)))
        targets = [stack.enter_context(gateways.ALL[one](ground)) for one in gateways.chosen(given.only)]
        durable = {"a commit": durability.commits(ground.libpq), "a page to the disk": durability.syncs(ground.folder)}
        for target in targets:
            for arguments in CASES.values():  # warm: connections, prepared statements, compiled queries
                measure(target, [*arguments, "--seconds=0.5"], ground.bystanders)
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(given.rounds):
            one: dict[str, dict[str, Any]] = {case: {} for case in CASES}
            for case, arguments in CASES.items():
                for target in in_turn(targets, number):
                    one[case][target.name] = measure(
                        target, [*arguments, f"--seconds={given.seconds}"], ground.bystanders
                    )
            rounds.append(one)
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
    found = summary(rounds)
    told = {
        "cores": os.cpu_count(),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "durability": durable,
        "summary": found,
        "rounds": rounds,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(table(found, durable))


def in_turn(targets: list[Target], number: int) -> list[Target]:
    """Another one first in each round, so that none always follows the same."""
    start = number % len(targets)
    return targets[start:] + targets[:start]


if __name__ == "__main__":
    main()

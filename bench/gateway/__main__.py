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
from dataclasses import asdict
from pathlib import Path

from bench.gateway import durability, gateways, killing
from bench.gateway.cases import CASES, Figures, measure
from bench.gateway.reporting import Round, summary
from bench.gateway.stack import Ground, running
from bench.gateway.table import table
from bench.gateway.targets import Target

RESULT = Path(__file__).parents[1] / "results" / "gateway.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in each round")
    parser.add_argument("--kills", type=int, default=6, help="of each gateway that keeps what it says")
    parser.add_argument("--short", action="store_true", help="two rounds of a second each, two kills")
    parser.add_argument("--only", default=",".join(gateways.ALL), help="targets, comma between; direct is always there")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.short:
        given.rounds, given.seconds, given.kills = 2, 1.0, 2
    load_before, names = os.getloadavg(), gateways.chosen(given.only)
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, running(Path(name)) as ground:
        durable = {"a commit": durability.commits(ground.libpq), "a page to the disk": durability.syncs(ground.folder)}
        tolls = {
            one: killing.kill_again_and_again(ground, one, gateways.ALL[one], given.kills)
            for one in names
            if one in killing.KEPT_BY
        }
        rounds = play(ground, names, given.rounds, given.seconds)
    found = summary(rounds)
    told = {
        "cores": os.cpu_count(),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "durability": durable,
        "summary": found,
        "killed": {name: asdict(toll) for name, toll in tolls.items()},
        "rounds": rounds,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(table(found, durable, tolls))


def play(ground: Ground, names: list[str], rounds: int, seconds: float) -> list[Round]:
    """Every target under every load, round after round."""
    with ExitStack() as stack:
        targets = [stack.enter_context(gateways.ALL[name](ground)) for name in names]
        for target in targets:
            for arguments in CASES.values():  # warm: connections, prepared statements, compiled queries
                measure(target, [*arguments, "--seconds=0.5"], ground.bystanders)
        played: list[Round] = []
        for number in range(rounds):
            one: dict[str, dict[str, Figures]] = {case: {} for case in CASES}
            for case, arguments in CASES.items():
                for target in in_turn(targets, number):
                    one[case][target.name] = measure(target, [*arguments, f"--seconds={seconds}"], ground.bystanders)
            played.append(one)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return played


def in_turn(targets: list[Target], number: int) -> list[Target]:
    """Another one first in each round, so that none always follows the same."""
    start = number % len(targets)
    return targets[start:] + targets[:start]


if __name__ == "__main__":
    main()

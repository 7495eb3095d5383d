"""What each ingredient buys: the default with one switch turned, on Twenty Questions with ten words.

Runs what is missing, then writes table and picture; the same command goes on where the last one stopped.
"""

import argparse
from pathlib import Path

from bench.ablation_runs import ABLATIONS
from bench.comparing import draw_curves, read_curves, write_table
from bench.running import Wanted, run_all

RESULTS = Path(__file__).parent / "results" / "ablation"
TASK = "twenty-questions-10"
BUDGET = 1_536
SEEDS = 3


def main() -> None:
    """Run, then compare with the default's own curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=2, help="curves at a time, one thread each")
    parser.add_argument("--minutes", type=float, default=60, help="begin no curve after so many minutes; 0 only draws")
    parser.add_argument("--only", nargs="*", choices=sorted(ABLATIONS), help="these switches only")
    given = parser.parse_args()
    names = given.only or list(ABLATIONS)
    wanted = [Wanted(TASK, name, seed, BUDGET) for seed in range(SEEDS) for name in names]
    run_all(wanted, processes=given.processes, minutes=given.minutes)
    curves = read_curves(TASK, {*names, "archer"}, until=BUDGET)
    if curves:
        draw_curves(curves, RESULTS / "ablation.png", title="one switch at a time")
        print(write_table(curves, RESULTS / "ablation.md"))


if __name__ == "__main__":
    main()

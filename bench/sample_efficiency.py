"""Return against conversations, method by method, on a task whose optimum is known.

Runs what is missing of the curves, in the order below, for as long as it may; then writes the table and the picture of
all that is there. `make bench-sample-efficiency` again goes on where the last one stopped.
"""

import argparse
from pathlib import Path

from bench.comparing import draw_curves, read_curves, write_ratios, write_table
from bench.running import Wanted, run_all

RESULTS = Path(__file__).parent / "results" / "sample_efficiency"

TEN = "twenty-questions-10"
MANY = "twenty-questions-157"
OTHERS = ("guess-my-city", "mini-webshop", "support-desk")
SAMPLE_EFFICIENT = ("archer", "filtered-bc", "reinforce")


def plan() -> list[Wanted]:
    """Every curve, the most telling first. Nothing here was chosen after a curve of these seeds was seen."""
    wanted: list[Wanted] = []
    for seed in range(5):
        wanted += [Wanted(TEN, "archer", seed, 5_120), Wanted(TEN, "ppo-turn", seed, 10_240)]
        wanted += [Wanted(TEN, "filtered-bc", seed, 5_120), Wanted(TEN, "reinforce", seed, 5_120)]
    for seed in range(3):
        wanted += [Wanted(TEN, "faithful", seed, 2_560), Wanted(TEN, "ppo-token", seed, 10_240)]
        wanted += [Wanted(TEN, "chai", seed, 2_560)]
    for seed in range(3):
        wanted += [Wanted(MANY, method, seed, 10_240) for method in SAMPLE_EFFICIENT]
        wanted += [Wanted(MANY, "ppo-turn", seed, (102_400, 30_720, 10_240)[seed])]
        wanted += [Wanted(MANY, "faithful", seed, 5_120)]
    for task in OTHERS:
        for seed in range(3):
            wanted += [Wanted(task, method, seed, 5_120) for method in SAMPLE_EFFICIENT]
            wanted += [Wanted(task, "ppo-turn", seed, 10_240)]
    return wanted


def main() -> None:
    """Run, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=2, help="curves at a time, one thread each")
    parser.add_argument("--minutes", type=float, default=60, help="begin no curve after so many minutes; 0 only draws")
    parser.add_argument("--tasks", nargs="*", help="these tasks only")
    parser.add_argument("--methods", nargs="*", help="these methods only")
    parser.add_argument("--seeds", type=int, nargs="*", help="these seeds only")
    given = parser.parse_args()
    wanted = [
        each
        for each in plan()
        if (not given.tasks or each.task in given.tasks)
        and (not given.methods or each.method in given.methods)
        and (given.seeds is None or each.seed in given.seeds)
    ]
    run_all(wanted, processes=given.processes, minutes=given.minutes)
    for task in dict.fromkeys(each.task for each in wanted):
        curves = read_curves(task, {each.method for each in wanted if each.task == task})
        if curves:
            draw_curves(curves, RESULTS / f"{task}.png", title=task)
            print(write_table(curves, RESULTS / f"{task}.md"))
            if "archer" in curves:
                print(write_ratios(curves, RESULTS / f"{task}-ratios.md", ours="archer"))


if __name__ == "__main__":
    main()

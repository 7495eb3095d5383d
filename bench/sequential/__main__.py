"""The sequential test on canaries whose truth is known: how often it errs, how soon it decides.

`make bench-sequential`; one process, some minutes.
"""

import argparse
import json
from pathlib import Path

from bench.sequential.deciding import ERROR
from bench.sequential.measuring import measure_errors, measure_power
from bench.sequential.reporting import draw, write_table

RESULTS = Path(__file__).parents[1] / "results" / "sequential"


def main() -> None:
    """Measure, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=2_000, help="canaries without effect")
    parser.add_argument("--power-runs", type=int, default=500, help="canaries with one")
    parser.add_argument("--canaries", type=int, default=5_000, help="canary units in each without effect")
    parser.add_argument("--power-canaries", type=int, default=20_000, help="canary units in each with one")
    parser.add_argument("--into", type=Path, default=RESULTS)
    given = parser.parse_args()
    result = {
        "error": ERROR,
        "errors": measure_errors(given.runs, given.canaries),
        "power": measure_power(given.power_runs, given.power_canaries, first=given.canaries),
    }
    given.into.mkdir(parents=True, exist_ok=True)
    (given.into / "sequential.json").write_text(json.dumps(result, indent=1) + "\n")
    print(write_table(result, given.into / "sequential.md"))
    draw(result, given.into / "sequential.png")


if __name__ == "__main__":
    main()

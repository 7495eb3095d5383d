"""Whether a gateway's memory and its latency stay what they are over so many turns."""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench.gateway import targets
from bench.gateway.cases import measure
from bench.gateway.stack import running

RESULT = Path(__file__).parents[1] / "results" / "gateway_endurance.json"
IN_FLIGHT = 20
MEGABYTE = 2**20


def growth(points: list[dict[str, Any]]) -> float:
    """Megabytes by 10,000 turns: the slope of a straight line through the later half, when caches are full."""
    later = points[len(points) // 2 :]
    slope = statistics.linear_regression(
        [point["turns"] for point in later], [point["resident_mb"] for point in later]
    ).slope
    return 10_000 * slope


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.endurance", description=__doc__)
    parser.add_argument("--turns", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=5_000, help="turns between two looks")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.turns < 4 * given.every:
        raise SystemExit("Four looks are the least that show whether memory grows: ask for more turns, or more looks.")
    points: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="nock-bench-") as name,
        running(Path(name)) as ground,
        targets.nock(ground.folder, ground.database_url, ground.engine_url, ground.key) as target,
    ):
        load = [f"--in-flight={IN_FLIGHT}", f"--turns={given.every // IN_FLIGHT}", "--seconds=86400"]
        for turns in range(given.every, given.turns + 1, given.every):
            figures = measure(target, load, ground.bystanders)
            resident = target.processes[0].memory_info().rss / MEGABYTE
            points.append({"turns": turns, "resident_mb": resident, **figures["all_turns"]})
            print(f"{turns:>8,} turns: {resident:.1f} MB, p99 {figures['all_turns']['p99']:.1f} ms", flush=True)
    given.out.write_text(json.dumps({"growth_mb": growth(points), "points": points}, indent=1) + "\n")
    print(f"{growth(points):+.2f} MB by 10,000 turns in the later half")


if __name__ == "__main__":
    main()

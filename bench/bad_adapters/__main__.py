"""Bad adapters at the support desk: caught or not, after how many conversations, and what they cost until then.

`make bench-bad-adapters`; one process, some minutes. Every conversation is a game that is really played.
"""

import argparse
import json
import statistics
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.bad_adapters.agents import VERSIONS, Version, in_service
from bench.bad_adapters.reporting import write_table
from bench.bad_adapters.trying import CONVERSATIONS, DELAY, MARGIN, RAMPS, try_out
from bench.sequential.fixed_horizon import units_needed

RESULTS = Path(__file__).parents[1] / "results" / "bad_adapters"
CUSTOMERS = 8_192
"""Of whom the true means are taken: each need and each patience as often."""
POWER, PROMOTION_ERROR = 0.8, 0.025


def main() -> None:
    """Play, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--into", type=Path, default=RESULTS)
    given = parser.parse_args()
    fixed = units_needed(MARGIN, POWER, PROMOTION_ERROR, with_guard=False)
    result = {
        "conversations": CONVERSATIONS,
        "delay": DELAY,
        "seeds": given.seeds,
        "fixed_units_of_an_arm": fixed,
        "in_service": measure_means(in_service),
        "rows": [
            measure(name, ramp, range(given.seeds), fixed_exposed=fixed + DELAY // 2)
            for ramp in RAMPS
            for name in VERSIONS
        ],
    }
    given.into.mkdir(parents=True, exist_ok=True)
    (given.into / "bad_adapters.json").write_text(json.dumps(result, indent=1) + "\n")
    print(write_table(result, given.into / "bad_adapters.md"))


def measure_means(version: Version) -> dict[str, float]:
    """What is true of it."""
    outcomes = [version(customer) for customer in range(CUSTOMERS)]
    return {
        "worth": statistics.mean(outcome.worth for outcome in outcomes),
        "closed": statistics.mean(outcome.is_closed for outcome in outcomes),
        "told": statistics.mean(outcome.is_told for outcome in outcomes),
    }


def measure(name: str, ramp: str, seeds: range, *, fixed_exposed: int) -> dict[str, Any]:
    """One version on one ramp, seed by seed; regret is the conversations it served times what each loses on average."""
    true, lost = measure_means(VERSIONS[name]), measure_means(in_service)["worth"]
    lost -= true["worth"]
    tried = [try_out(VERSIONS[name], RAMPS[ramp], seed) for seed in seeds]
    print(f"{name}, {ramp}: {Counter((each.decision, each.by) for each in tried)}", flush=True)
    exposed = statistics.median(each.exposed for each in tried)
    return {
        "version": name,
        "ramp": ramp,
        "true": true,
        "lost_each": lost,
        "rolled_back": sum(each.decision == "roll_back" for each in tried),
        "promoted": sum(each.decision == "promote" for each in tried),
        "by": Counter(each.by for each in tried if each.by is not None),
        "median_exposed": exposed,
        "most_exposed": max(each.exposed for each in tried),
        "median_conversations": statistics.median(each.conversations for each in tried),
        "median_regret": exposed * lost,
        "share_of_always_publishing": exposed / CONVERSATIONS,
        "share_of_a_fixed_test": exposed / fixed_exposed,
        "runs": [asdict(each) for each in tried],
    }


if __name__ == "__main__":
    main()

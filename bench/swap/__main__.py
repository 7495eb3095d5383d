"""How soon another gateway's new conversations meet a promoted version, and what it costs those who speak meanwhile.

`make bench-swap`; real processes, some minutes. Spans with a swap and quiet ones of the same length take turns.
"""

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.swap import stack
from bench.swap.model import write_adapter, write_model
from bench.swap.reporting import figures, write_table
from bench.swap.ways import move_pointer, reload_in_place, restart

RESULTS = Path(__file__).parents[1] / "results" / "swap"
SPAN_SECONDS = 1.0


def main() -> None:
    """Measure, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--swaps", type=int, default=60, help="promotions and rollbacks in turn")
    parser.add_argument("--reloads", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--into", type=Path, default=RESULTS)
    given = parser.parse_args()
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name:
        folder = Path(name)
        model = write_model(folder / "model")
        adapters = [write_adapter(folder / f"adapter-{seed}", model, seed=seed) for seed in range(4)]
        with stack.running(folder, model, adapters, (given.swaps + 1) // 2) as running:
            swapped = asyncio.run(move_pointer(running, given.swaps, SPAN_SECONDS))
            reloaded = asyncio.run(reload_in_place(running.engine, adapters, given.reloads, SPAN_SECONDS))
        restarted = asyncio.run(restart(model, stack.free_port(), folder, given.restarts, SPAN_SECONDS))
    seen = {"pointer moved": swapped, "reloaded in place": reloaded, "engine restarted": restarted}
    result: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "ways": {way: figures(one) for way, one in seen.items()},
    }
    given.into.mkdir(parents=True, exist_ok=True)
    (given.into / "swap.json").write_text(json.dumps(result, indent=1) + "\n")
    print(write_table(result, given.into / "swap.md"))


if __name__ == "__main__":
    main()

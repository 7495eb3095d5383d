"""Where the gateway's own time goes: the functions that take most of it by request, under 16 requests at once.

Processor time of the gateway's one thread, so that neither waiting nor a busy machine counts. The profiler makes all of
it slower, and small Python functions most: read shares, and measure with bench.gateway.
"""

import argparse
import json
import pstats
import re
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.gateway import profiled, targets
from bench.gateway.cases import run
from bench.gateway.stack import running

RESULT = Path(__file__).parents[1] / "results" / "gateway_profile.json"
TOP = 40
PACKAGES = [
    re.compile(pattern) for pattern in (r"site-packages/([^/.]+)", r"lib/python[^/]*/([^/.]+)", r"/(core|service)/")
]


def rows(file: Path, requests: int) -> list[dict[str, Any]]:
    """By function: its own time a request in microseconds, its share, and how often a request calls it."""
    seen: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    total = sum(of[2] for of in seen.values())
    found = [
        {
            "function": f"{_short(place[0])}:{place[1]} {place[2]}" if place[1] else place[2],
            "package": package(place[0]),
            "own_us": 1e6 * of[2] / requests,
            "share": of[2] / total,
            "calls": of[1] / requests,
            "with_called_us": 1e6 * of[3] / requests,
        }
        for place, of in seen.items()
    ]
    return sorted(found, key=lambda row: float(row["own_us"]), reverse=True)


def package(file: str) -> str:
    """Whose code it is: ours, a library's, or built into Python."""
    for pattern in PACKAGES:
        if match := pattern.search(file):
            return match[1]
    return "built in"


def _short(file: str) -> str:
    return file.split("site-packages/")[-1].split("lib/")[-1].removeprefix(f"{Path.cwd()}/")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway.profile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name, running(Path(name)) as ground:
        file = ground.folder / "profile"
        with targets.nock(
            ground.folder,
            ground.database_url,
            ground.engine_url,
            ground.key,
            program="bench.gateway.profiled",
            environment={profiled.FILE: str(file)},
        ) as target:
            load = ["--in-flight=16", *(["--stream"] if given.stream else [])]
            run(target, [*load, "--seconds=2"])  # warm
            target.processes[0].send_signal(signal.SIGUSR1)
            figures = run(target, [*load, f"--seconds={given.seconds}"])
            target.processes[0].send_signal(signal.SIGUSR2)
            while not file.exists():
                time.sleep(0.05)
        found = rows(file, figures["requests"])
    packages = Counter[str]()
    for row in found:
        packages[row["package"]] += row["share"]
    told = {"requests": figures["requests"], "packages": dict(packages.most_common(25)), "functions": found[:TOP]}
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(f"{figures['requests']} requests, {sum(row['own_us'] for row in found) / 1000:.2f} ms of Python each")
    print("\n".join(f"{share:>7.1%}  {package}" for package, share in packages.most_common(25)))
    print(f"\n{'own us':>9}{'share':>8}{'calls':>8}{'in all us':>11}  function")
    for row in found[:TOP]:
        print(
            f"{row['own_us']:>9.0f}{row['share']:>8.1%}{row['calls']:>8.1f}{row['with_called_us']:>11.0f}  "
            f"{row['function']}"
        )


if __name__ == "__main__":
    main()

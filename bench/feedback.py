"""Outcomes a second through POST /feedback and its batches, beside bare committed inserts into the same Postgres.

Beside them also a bare route that does one such insert: what FastAPI and psycopg cost without Nock. It is no upper
bound, since its requests share no transaction. The loads take turns, round after round, so that a machine that drifts
slows all of them; the figures are ratios.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.outcomes import rows, servers
from service.app import libpq_address

RESULT = Path(__file__).parent / "results" / "feedback.json"
BATCH = 1000
CONVERSATIONS = 60_000
CASES: dict[str, list[str]] = {
    "bare": [],
    "bare route": ["--in-flight=16"],
    "single": ["--in-flight=16"],
    "single, final": ["--in-flight=16", "--final"],
    "batch": ["--in-flight=1", f"--batch={BATCH}"],
    "batch, 4 at once": ["--in-flight=4", f"--batch={BATCH}"],
}
Figures = dict[str, Any]


class Loads:
    """Runs one load at a time; each outcome has a number that no other has."""

    def __init__(self, libpq: str, gateway: str, bare_route: str, key: str, agent: str, seconds: float) -> None:
        self._libpq, self._gateway, self._bare_route = libpq, gateway, bare_route
        self._key, self._agent, self._seconds = key, agent, seconds
        self._first = 0

    def run(self, case: str) -> Figures:
        before = servers.cpu_seconds()
        if case == "bare":
            where = [
                "bench.outcomes.bare_inserts",
                f"--libpq={self._libpq}",
                f"--agent={self._agent}",
                "--in-flight=16",
            ]
        else:
            url = self._bare_route if case == "bare route" else self._gateway
            where = ["bench.outcomes.posting", f"--url={url}", f"--key={self._key}", f"--first={self._first}"]
            where += [f"--conversations={CONVERSATIONS}", *CASES[case]]
        told = subprocess.run(
            [sys.executable, "-m", *where, f"--seconds={self._seconds}"], capture_output=True, text=True
        )
        if told.returncode != 0:
            raise SystemExit(told.stderr[-3000:])
        figures: Figures = json.loads(told.stdout)
        if not case.startswith("bare"):
            self._first += figures["entries"] + 16 * BATCH
        for name, used in servers.cpu_seconds().items():
            figures[f"{name}_cpu"] = (used - before[name]) / figures["seconds"]
        return figures


def summary(rounds: list[dict[str, Figures]]) -> dict[str, Any]:
    """The medians over rounds, and the ratios, each taken within a round."""

    def ratio(case: str, to: str) -> float:
        rates = [(float(one[case]["entries_per_second"]), float(one[to]["entries_per_second"])) for one in rounds]
        return statistics.median(ours / theirs for ours, theirs in rates)

    medians = {
        case: {name: statistics.median(one[case][name] for one in rounds) for name in rounds[0][case]}
        for case in rounds[0]
    }
    ratios = {f"{case} / bare": ratio(case, "bare") for case in rounds[0] if case != "bare"}
    ratios["single / bare route"] = ratio("single", "bare route")
    ratios |= {f"{case} / single": ratio(case, "single") for case in rounds[0] if case.startswith("batch")}
    return {"medians": medians, "ratios": ratios}


def table(found: dict[str, Any]) -> str:
    lines = [f"{'':<20}{'entries/s':>10}{'p50 ms':>9}{'p99 ms':>9}   cores used: client, server, Postgres"]
    for case, of in found["medians"].items():
        cores = ", ".join(f"{of[name]:.2f}" for name in ("client_cpu", "server_cpu", "postgres_cpu"))
        lines.append(f"{case:<20}{of['entries_per_second']:>10.0f}{of['p50_ms']:>9.2f}{of['p99_ms']:>9.2f}   {cores}")
    return "\n".join([*lines, *(f"{name}: {ratio:.2f}" for name, ratio in found["ratios"].items())])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.feedback", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load in each round")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    rounds: list[dict[str, Figures]] = []
    load_before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="nock-bench-") as name:
        folder = Path(name)
        with servers.postgres(folder) as database_url:
            libpq = libpq_address(database_url)
            key, agent = asyncio.run(rows.fill(database_url, libpq, CONVERSATIONS))
            with (
                servers.gateway(database_url, free_port(), folder) as gateway,
                servers.bare_route(libpq, agent, free_port(), folder) as bare_route,
            ):
                loads = Loads(libpq, gateway, bare_route, key, agent, given.seconds)
                for case in CASES:
                    loads.run(case)  # warm: connections, prepared statements, caches of compiled queries
                for number in range(given.rounds):
                    rounds.append({case: loads.run(case) for case in CASES})
                    print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
    found = summary(rounds)
    told = {"cores": os.cpu_count(), "load_average_before": load_before, **found, "rounds": rounds}
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(told, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()

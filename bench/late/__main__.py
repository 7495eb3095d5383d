"""Late outcomes on the support desk: Nock against who drops, zeroes or waits; then the table and the picture.

Runs what is missing, in the order of the plan, for as long as it may. `make bench-late` again goes on.
"""

import argparse
import subprocess
import sys
import time

from bench.late.plan import RESULTS, Planned, plan
from bench.late.reporting import draw, read_records, write_table


def main() -> None:
    """Run, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--minutes", type=float, default=180, help="begin no run after so many minutes; 0 only reports")
    given = parser.parse_args()
    run_all([planned for planned in plan() if not planned.file.is_file()], given.processes, given.minutes)
    records = read_records(plan())
    if records:
        print(write_table(records, RESULTS / "late.md"))
        draw(records, RESULTS / "late.png")


def run_all(waiting: list[Planned], processes: int, minutes: float) -> None:
    """In their order; those under way when the time is over are run to their end."""
    until, total = time.monotonic() + 60 * minutes, len(waiting)
    running: list[subprocess.Popen[bytes]] = []
    failed = 0
    while (waiting and time.monotonic() < until) or running:
        while waiting and len(running) < processes and time.monotonic() < until:
            planned = waiting.pop(0)
            print(f"{total - len(waiting)} of {total}: {planned}", flush=True)
            running.append(subprocess.Popen([sys.executable, "-m", "bench.late.plan", *planned.arguments]))
        time.sleep(1)
        failed += sum(process.poll() not in (None, 0) for process in running)
        running = [process for process in running if process.poll() is None]
    if waiting:
        print(f"{len(waiting)} runs are left; the same command goes on with them.", flush=True)
    if failed:
        raise SystemExit(f"{failed} runs failed.")


if __name__ == "__main__":
    main()

"""Offline evidence against truth on the support desk: how candidates rank, and how often the interval holds the truth.

Plays, learns and weighs in one process, then writes the table and the picture; `--report` only writes those. Goes on
where it stopped, with the candidates that it had made.
"""

import argparse
import json
import os
import warnings
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from bench.offline_evidence.experiment import run
from bench.offline_evidence.reporting import RECORD, draw, write_table
from bench.policies.recipe import policy_folder
from sim.catalogue import find_task


def main() -> None:
    """Run, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--report", action="store_true", help="only from the record that is there")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    if not given.report:
        torch.set_num_threads(given.threads)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
        warnings.filterwarnings("ignore", category=FutureWarning)
        home = Path(os.environ.get("NOCK_HOME", ".nock")) / "bench"
        policy = policy_folder(find_task("support-desk"), home / "policies")
        record = run(policy, home / "offline_evidence" / f"{policy.name}.pickle")
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
    record = json.loads(RECORD.read_text())
    print(write_table(record))
    draw(record)


if __name__ == "__main__":
    main()

"""Outcomes told to a stack whose processes die again and again: what was acknowledged is there, once, and adds up."""

import json
import os
import random
import sys
from pathlib import Path

import pytest

from tests.fixtures.mortal_stack import running_mortal_stack
from tests.fixtures.siege import Siege

RESULT = Path(__file__).parents[2] / "bench" / "results" / "soak.json"


def seed() -> int:
    """Another one each time, unless a failure is to be repeated: SEED=… of its report."""
    chosen = int(os.environ.get("SEED") or random.randrange(1_000_000))
    sys.stderr.write(f"SEED={chosen}\n")
    return chosen


async def test_a_few_kills_under_load_lose_no_outcome_and_count_none_twice(state_folder: Path) -> None:
    with running_mortal_stack(state_folder) as stack:
        await Siege(seed(), kills=3, writes=250, conversations=12).lay(stack)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_many_kills_under_load_lose_no_outcome_and_count_none_twice(state_folder: Path) -> None:
    with running_mortal_stack(state_folder) as stack:
        figures = await Siege(seed(), kills=24, writes=10_000, conversations=100).lay(stack)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    sys.stderr.write(f"{figures}\n")

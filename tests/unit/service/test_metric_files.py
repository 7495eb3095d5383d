"""Several gateway processes answer Prometheus as one."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from service import metric_files
from tests.fixtures.compose import ROOT


@contextmanager
def counting(turns: int, *engines: str) -> Iterator[str]:
    """A process that has counted, and what it told then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.counting_process", str(turns), *engines],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = "".join(iter(process.stdout.readline, "told\n"))
    yield told
    process.communicate()


def values(told: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name in {"nock_turns_total", "nock_turn_seconds_count", "nock_chats_in_flight"}
    }


def test_what_two_processes_count_is_added_up_and_the_dead_hold_nothing() -> None:
    with metric_files.shared_folder():
        with ExitStack() as alive:
            assert values(alive.enter_context(counting(3)))["nock_turns_total"] == 3
            both = values(alive.enter_context(counting(4)))
            assert both == {"nock_turns_total": 7, "nock_turn_seconds_count": 7, "nock_chats_in_flight": 7}
        with counting(1) as told:
            assert values(told) == {"nock_turns_total": 8, "nock_turn_seconds_count": 8, "nock_chats_in_flight": 1}


def test_an_engine_that_one_process_knew_is_told_by_none_that_finds_it_no_more() -> None:
    with metric_files.shared_folder(), counting(1, "gone:8000", "there:8000") as first:
        assert set(re.findall(r'engine="([^"]+)"', first)) == {"gone:8000", "there:8000"}
        with counting(1, "there:8000") as told:
            assert set(re.findall(r'engine="([^"]+)"', told)) == {"there:8000"}


def test_the_folder_goes_with_its_processes_and_a_process_alone_has_none() -> None:
    with metric_files.shared_folder():
        folder = Path(os.environ[metric_files.FOLDER])
        assert folder.is_dir()
    assert not folder.exists()
    assert metric_files.FOLDER not in os.environ

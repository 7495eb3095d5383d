"""The clients' examples: each is run by `make clients`, with versions that are written down."""

import json
import re
import sys
from pathlib import Path

import pytest

from examples import run_all
from examples.run_all import ALL, Example, run
from tests.fixtures.settings import ROOT

EXAMPLES = ROOT / "examples"
LOCK = json.loads((EXAMPLES / "node" / "package-lock.json").read_text())


def test_every_example_is_run() -> None:
    there = {*EXAMPLES.glob("with_*.py"), *(EXAMPLES / "node").glob("*.mjs")}
    assert {EXAMPLES / example.file for example in ALL} == there


def test_an_example_that_hangs_has_failed_and_the_next_one_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(run_all, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(run_all, "EXAMPLES", tmp_path)
    monkeypatch.setattr(run_all, "EXAMPLE_SECONDS", 0.2)
    hanging = Example("hangs.py", ())
    assert run(hanging, {})[:2] == (hanging, False)


def test_each_python_package_is_pinned() -> None:
    lines = (ROOT / "requirements-clients.txt").read_text().splitlines()
    named = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in named if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert {"openai", "langchain-openai", "litellm", "httpx"} <= {line.split("==")[0] for line in named}


def test_each_node_package_is_pinned_and_from_nowhere_in_particular() -> None:
    asked = json.loads((EXAMPLES / "node" / "package.json").read_text())["dependencies"]
    assert [version for version in asked.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    for name, package in LOCK["packages"].items():
        if name:
            assert package["integrity"].startswith("sha512-")
            assert "resolved" not in package

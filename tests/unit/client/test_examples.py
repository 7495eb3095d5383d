"""The clients' examples: each is run by `make clients`, with versions that are written down."""

import json
import re

from examples.run_all import ALL
from tests.fixtures.settings import ROOT

EXAMPLES = ROOT / "examples"
LOCK = json.loads((EXAMPLES / "node" / "package-lock.json").read_text())


def test_every_example_is_run() -> None:
    there = {*EXAMPLES.glob("with_*.py"), *(EXAMPLES / "node").glob("*.mjs")}
    assert {EXAMPLES / example.file for example in ALL} == there


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

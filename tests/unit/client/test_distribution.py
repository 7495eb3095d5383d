"""The client is installed alone: it imports httpx, itself and Python's own, and says so where it is packaged."""

import ast
import sys
import tomllib

from tests.fixtures.settings import ROOT

CLIENT = ROOT / "nock_client"
PROJECT = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]


def test_it_imports_nothing_but_httpx() -> None:
    imported = {
        name.split(".")[0]
        for file in CLIENT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"httpx", "nock_client"}
    assert PROJECT["dependencies"] == ["httpx>=0.28"]


def test_its_version_is_the_gateways() -> None:
    assert PROJECT["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

"""The pages about the algorithm name every public function and class, and no other."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = "".join((ROOT / "docs" / page).read_text() for page in ("algorithm.md", "offline-evidence.md"))
MODULES = sorted(file for file in (ROOT / "worker" / "archer").glob("*.py") if file.stem != "__init__")


def public_names(file: Path) -> list[str]:
    return [
        f"{file.stem}.{node.name}"
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_every_public_name_of_the_algorithm_is_on_its_page(file):
    assert [name for name in public_names(file) if f"`{name}`" not in PAGE] == []


def test_the_page_names_nothing_that_is_gone():
    known = {name for file in MODULES for name in public_names(file)}
    modules = "|".join(file.stem for file in MODULES)
    named = set(re.findall(rf"`((?:{modules})\.\w+)(?:\.\w+)?`", PAGE))
    assert named - known == set()
    assert len(named) > 40


def test_the_tests_that_the_page_names_exist():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert [name for name in sorted(named) if not (Path(__file__).parent / f"{name}.py").is_file()] == []
    assert len(named) > 10

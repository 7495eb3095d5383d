"""The site builds as `make docs` builds it, and a link that leads nowhere ends the build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.settings import ROOT


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder / "site")],
        cwd=folder,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the build reads, to be broken."""
    for folder in ("docs", "docs_site"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    return tmp_path


def test_it_builds_with_a_page_for_every_decision(copy: Path) -> None:
    built = build(copy)
    assert built.returncode == 0, built.stdout + built.stderr
    decisions = {page.stem for page in (ROOT / "docs" / "decisions").glob("*.md")}
    assert {page.parent.name for page in (copy / "site" / "decisions").glob("*/index.html")} == decisions
    assert "POST /feedback" in (copy / "site" / "reference" / "index.html").read_text()


@pytest.mark.parametrize("link", ["[x](nowhere.md)", "[x](concepts.md#nothing)", "[x](../README.md)"])
def test_a_broken_link_ends_it(copy: Path, link: str) -> None:
    with (copy / "docs" / "index.md").open("a") as page:
        page.write(f"\n{link}\n")
    assert build(copy).returncode != 0

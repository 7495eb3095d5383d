"""Puts every decision into the site's navigation, so that a new page needs no line elsewhere; called by mkdocs."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Append the pages of docs/decisions/ in the order of their numbers."""
    pages = sorted((Path(config["docs_dir"]) / "decisions").glob("*.md"))
    config["nav"].append({"Decisions": [f"decisions/{page.name}" for page in pages]})
    return config

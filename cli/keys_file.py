"""The file in which a laptop stack keeps one key of each scope; knows nothing of what the database says of them."""

import json
import os
from pathlib import Path


def read_keys(file: Path) -> dict[str, str]:
    """The keys by scope; none where the file is lost or damaged."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {scope: key for scope, key in content.items() if isinstance(key, str)}


def write_keys(file: Path, secrets: dict[str, str]) -> None:
    """Write all or nothing, unreadable to others from the first byte on."""
    new = file.with_name(file.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        json.dump(secrets, opened, indent=2)
        opened.write("\n")
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)

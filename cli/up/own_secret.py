"""The secret that a laptop stack signs with: made at its first start, in a file that only its owner reads."""

import os
import secrets
from pathlib import Path


def ensure_secret(file: Path) -> str:
    """The file's secret; one is made where there is none."""
    if not file.exists():
        unfinished = file.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
            writing.write(secrets.token_urlsafe(32) + "\n")
            writing.flush()
            os.fsync(writing.fileno())
        unfinished.replace(file)
    return file.read_text().strip()

"""Find the programs that come inside Python wheels, without importing their packages."""

from importlib.util import find_spec
from pathlib import Path

from cli.up.errors import StartError


def program(package: str, path: str, distribution: str) -> Path:
    """The program at `path` inside an installed package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StartError(f"The package {distribution} is missing.", advice="Run `make install`.")
    found = Path(spec.origin).parent / path
    if not found.is_file():
        raise StartError(
            f"The package {distribution} holds no {path} for this machine.",
            advice="Run `make install`, or name a server of yours in NOCK_DATABASE_URL and NOCK_REDIS_URL.",
        )
    return found

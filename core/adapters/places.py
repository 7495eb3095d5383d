"""Where an agent's adapters lie and what their folders are called; no name in here was chosen by a user."""

from pathlib import Path
from uuid import UUID

from core.domain.adapters import AdapterName

HIDDEN = ".unfinished-"


def adapters_of(adapters_dir: Path, agent: str) -> Path:
    """The agent's adapters. Absolute, since engines that load one stand in other folders."""
    return adapters_dir.absolute() / agent


def unfinished_name(maker: UUID, holder: UUID) -> str:
    """What one attempt of a run or of an import writes to, until it is whole."""
    return f"{HIDDEN}{maker.hex}-{holder.hex}"


def version_name(name: AdapterName, maker: UUID) -> str:
    """The folder of a version, for ever."""
    return f"v{name.number}-{maker.hex}"

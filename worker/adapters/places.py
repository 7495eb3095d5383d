"""Where an agent's adapters and checkpoints lie, and which of the folders there belong to nobody."""

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from core.adapters.places import adapters_of, unfinished_name, version_name
from core.domain.adapters import AdapterName
from core.settings import StoreSettings

OF_A_RUN = re.compile(r"(?:\.removed-)?(?:(?:v[0-9]+-)?([0-9a-f]{32})|\.unfinished-([0-9a-f]{32})-[0-9a-f]{32})")
"""The names that runs give to folders; one that does not look like this is somebody else's."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one agent."""

    adapters: Path
    checkpoints: Path

    @classmethod
    def of(cls, store: StoreSettings, agent: str) -> "Places":
        return cls(adapters_of(store.adapters_dir, agent), store.checkpoints_dir.absolute() / agent)

    def unfinished(self, run_id: UUID, holder: UUID) -> list[Path]:
        """What one attempt of a run writes to, until it is whole."""
        name = unfinished_name(run_id, holder)
        return [self.adapters / name, self.checkpoints / name]

    def adapter(self, name: AdapterName, run_id: UUID) -> Path:
        return self.adapters / version_name(name, run_id)

    def checkpoint(self, run_id: UUID) -> Path:
        return self.checkpoints / run_id.hex


def run_of(folder: Path) -> UUID | None:
    """The run that made a folder, by its name; None when no run did."""
    found = OF_A_RUN.fullmatch(folder.name)
    return UUID(hex=found[1] or found[2]) if found else None

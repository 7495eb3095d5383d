"""Bring a version into an engine, after its files have proved to be those that were registered."""

import asyncio
import hashlib
from pathlib import Path

from core.domain.adapters import BASE_NUMBER, AdapterName
from core.domain.errors import DamagedAdapterError
from core.engine.client import EngineClient
from core.storage.models import AdapterVersion

WEIGHTS = "adapter_model.safetensors"
CONFIGURATION = "adapter_config.json"


def check_files(version: AdapterVersion, name: AdapterName) -> None:
    """Raise DamagedAdapterError unless the folder holds the weights with the registered SHA-256."""
    folder = Path(version.path or "")
    if version.path is None or not (folder / CONFIGURATION).is_file():
        raise DamagedAdapterError(f"The files of {name} are missing.")
    try:
        with (folder / WEIGHTS).open("rb") as weights:
            found = hashlib.file_digest(weights, "sha256").hexdigest()
    except OSError as error:
        raise DamagedAdapterError(f"The weights of {name} cannot be read.") from error
    if found != version.sha256:
        raise DamagedAdapterError(f"The weights of {name} have the checksum {found}, registered was {version.sha256}.")


async def load(client: EngineClient, version: AdapterVersion, name: AdapterName) -> None:
    """Load a version under its own name. The base version is always there."""
    if version.number == BASE_NUMBER:
        return
    await asyncio.to_thread(check_files, version, name)
    assert version.path is not None
    await client.load_adapter(str(name), version.path)

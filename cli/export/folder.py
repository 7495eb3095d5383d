"""The folder of one export: what it was begun with, which parts are whole, and what may not be written into it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.export.files import write_json
from cli.export.parts import PartFile

UNFINISHED = "unfinished.json"
MANIFEST = "manifest.json"


class ExportError(Exception):
    """What keeps an export from going on, with what to do about it."""


@dataclass(slots=True)
class Progress:
    """What `unfinished.json` holds: the facts that every part must agree on, and the parts there are.

    `last` is the conversation that the newest part ends with, None before the first.
    """

    facts: dict[str, Any]
    parts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def last(self) -> str | None:
        return self.parts[-1]["last"] if self.parts else None

    @property
    def files(self) -> list[PartFile]:
        return [PartFile(**file) for part in self.parts for file in part["files"]]


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> Path:
        return self.path / MANIFEST

    def read(self, asked: Mapping[str, Any]) -> Progress | None:
        """How far an export with these options came, None where there is none yet."""
        file = self.path / UNFINISHED
        if not file.exists():
            self._refuse_others()
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            progress = Progress(content["facts"], content["parts"])
            begun = {name: progress.facts[name] for name in asked}
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(f"{file} is damaged: remove {self.path} and export again.") from error
        for name, value in begun.items():
            if value != asked[name]:
                raise ExportError(
                    f"{self.path} holds an unfinished export with {name} {value!r}, and not {asked[name]!r}:"
                    " go on with the same options, or name another folder."
                )
        return progress

    def write(self, progress: Progress) -> None:
        write_json(self.path / UNFINISHED, {"facts": progress.facts, "parts": progress.parts})

    def forget_damaged(self, progress: Progress) -> int:
        """Drop the first part that is not as it was written and all behind it; gives back how many they were."""
        whole = 0
        for part in progress.parts:
            if not all(PartFile(**file).is_whole(self.path) for file in part["files"]):
                break
            whole += 1
        dropped = len(progress.parts) - whole
        del progress.parts[whole:]
        return dropped

    def end(self, files: list[PartFile]) -> None:
        """Remove what no manifest names: a killed writer's leftovers and the record of progress."""
        named = {self.path / file.path for file in files}
        for table in {file.parent for file in named}:
            for found in table.iterdir():
                if found not in named:
                    found.unlink()
        (self.path / UNFINISHED).unlink(missing_ok=True)

    def _refuse_others(self) -> None:
        if self.manifest.exists():
            raise ExportError(f"{self.path} holds a finished export: name another folder.")
        leftover = f".{UNFINISHED}.new"
        if any(found.name != leftover for found in self.path.iterdir()):
            raise ExportError(f"{self.path} is not empty and holds no export: name another folder.")


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """The folder, made if need be, for one process at a time."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people said, and not for everybody on the machine
        descriptor = os.open(path, os.O_RDONLY)
    except (FileExistsError, NotADirectoryError) as error:
        raise ExportError(f"{path} is no folder: name another.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when the process dies
        yield Folder(path)
    except BlockingIOError as error:
        raise ExportError(f"Another export is writing to {path}.") from error
    finally:
        os.close(descriptor)

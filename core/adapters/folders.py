"""Folders that appear whole or not at all; knows names and bytes, not what they mean.

Files are 0640 and folders 0750 whatever the umask: an engine under another account of the same group can read them and
nobody can write them but whoever made them. (A set-group-ID bit on the adapters folder hands its group on.)
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o640, 0o750


def open_unfinished(folder: Path) -> Path:
    """Make a fresh folder, and those above it that are missing."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    folder.mkdir(parents=True)
    for made in [folder, *missing]:
        _set_mode(made, FOLDER_MODE)
    return folder


def seal(folder: Path) -> None:
    """Set the modes and flush every file and the folder to the disk: a rename must not outrun its content."""
    for path in [*folder.rglob("*"), folder]:
        _set_mode(path, FOLDER_MODE if path.is_dir() else FILE_MODE)
        flush(path)


def _set_mode(path: Path, mode: int) -> None:
    """Set the rwx bits; a set-group-ID bit that a folder inherited stays."""
    path.chmod(path.stat().st_mode & 0o7000 | mode)


def publish(unfinished: Path, final: Path) -> None:
    """Move a sealed folder to its place for ever; its parent is the same folder."""
    unfinished.rename(final)
    flush(final.parent)


def flush(path: Path) -> None:
    """Have the disk hold what was written; for a folder, the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(folders: Iterable[Path]) -> None:
    """Delete folders with what is in them; one that is gone already is fine."""
    for folder in folders:
        # Hidden first: whoever lists the place never sees a folder with half of its files.
        hidden = folder if folder.name.startswith(".") else folder.with_name(f".removed-{folder.name}")
        if folder != hidden and folder.exists():
            folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def list_folders(parent: Path) -> list[Path]:
    """The folders in a place, hidden ones too."""
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []

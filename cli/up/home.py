"""Where the stack keeps its state on this machine: the folder `NOCK_HOME` (`.nock` unless set) and what lies in it."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cli.up.errors import StartError

# The kernel takes 104 bytes (macOS) or 108 (Linux) for a socket's path; ours add up to 30 to the folder's.
LONGEST_SOCKET_FOLDER = 70


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files of one stack."""

    folder: Path

    @classmethod
    def from_environment(cls) -> "Home":
        return cls(Path(os.environ.get("NOCK_HOME") or ".nock").expanduser().resolve())

    @property
    def run(self) -> Path:
        """What is worthless once the stack is down."""
        return self.folder / "run"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    @property
    def secret(self) -> Path:
        """What the stack signs with."""
        return self.folder / "secret"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def adapters(self) -> Path:
        return self.folder / "adapters"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def address(self) -> Path:
        """Where the gateway of the stack that was started last listens, so that other commands find it."""
        return self.run / "address"

    @property
    def sockets(self) -> Path:
        """In the run folder, or in a private folder elsewhere when that one's path is too long or odd for sockets.

        Odd is what a URL must escape: SQLAlchemy writes a blank as `+`, which libpq reads as a plus sign.
        """
        is_plain = quote(str(self.run), safe="/") == str(self.run)
        if is_plain and len(os.fsencode(self.run)) <= LONGEST_SOCKET_FOLDER:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"nock-{os.geteuid()}-{digest}"

    def forget_sockets(self) -> None:
        """Remove a socket folder that lies outside ours; the next start makes it anew."""
        if self.sockets != self.run:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def journal(self, name: str) -> Path:
        """A line for each start and each end of a program since the stack came up."""
        return self.run / f"{name}.journal"

    def prepare(self) -> None:
        """Make the folders."""
        try:
            for folder in (self.run, self.logs, self.models, self.adapters, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            self.sockets.mkdir(mode=0o711, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "it is not writable")
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise StartError(
                f"The state folder {self.folder} cannot be used: {error.strerror}.",
                advice="Mend its permissions, or set NOCK_HOME to a folder that you may write to.",
            ) from error
        if self.sockets.is_symlink() or self.sockets.stat().st_uid != os.geteuid():
            raise StartError(
                f"The socket folder {self.sockets} belongs to somebody else.",
                advice="Remove it, or set NOCK_HOME to a folder with a shorter path.",
            )

"""The folder that one import writes to, known to the database from before it is made until it is a version's or gone.

A gateway may be killed at any moment. The lease's row says which folders are an import's, so that the next import finds
what a dead one left, and touches nothing of a living one or of another deployment on the same disk.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.adapters.folders import list_folders, open_unfinished, remove
from core.adapters.places import adapters_of, unfinished_name
from core.domain.errors import ConflictError, NockError
from core.domain.ids import new_id
from core.storage.database import Database
from core.storage.repositories import adapters, learner, leases

log = structlog.get_logger()

PREFIX = "import:"
LEASE_SECONDS = 300.0
"""How long an upload may stand still, and how long after a gateway's death its leftovers are anybody's to delete."""


@dataclass(slots=True)
class Site:
    """Where one import builds. Its id becomes the version's."""

    database: Database
    place: Path
    agent: str
    import_id: UUID
    holder: UUID
    published: Path | None = None
    renewed_at: float = 0.0

    @property
    def folder(self) -> Path:
        return self.place / unfinished_name(self.import_id, self.holder)

    @property
    def lease(self) -> str:
        return f"{PREFIX}{self.agent}:{self.import_id.hex}"

    async def keep(self) -> None:
        """Renew the lease when a third of it has passed."""
        if time.monotonic() - self.renewed_at < LEASE_SECONDS / 3:
            return
        async with self.database.transaction() as session:
            await self.hold(session)

    async def hold(self, session: AsyncSession) -> None:
        """Renew it now. Raises ConflictError if the folder may be gone."""
        if not await learner.take_lease(session, self.lease, holder=self.holder, seconds=LEASE_SECONDS):
            raise ConflictError("The upload stood still for too long: send it again.", code="import_lapsed")
        self.renewed_at = time.monotonic()


@asynccontextmanager
async def open_site(database: Database, adapters_dir: Path, agent: str) -> AsyncIterator[Site]:
    """A fresh hidden folder, gone with the block unless it was published.

    Whether a publication was committed may be unknown when the block fails after it: then the lease's row stays, and
    whoever sweeps reads what became of it.
    """
    site = Site(database, adapters_of(adapters_dir, agent), agent, new_id(), new_id())
    async with database.transaction() as session:
        await site.hold(session)
    try:
        with _disk_failures():
            await asyncio.to_thread(open_unfinished, site.folder)
            yield site
    finally:
        await asyncio.to_thread(remove, [site.folder])
        if site.published is None:
            async with database.transaction() as session:
                await leases.drop(session, site.lease, holder=site.holder)


@contextmanager
def _disk_failures() -> Iterator[None]:
    """A full or read-only disk is told as one, without a path."""
    try:
        yield
    except OSError as error:
        log.error("import failed on the disk", why=str(error))
        raise NockError("The folder of adapters cannot be written to.", code="adapter_store_failed") from error


async def sweep(database: Database, adapters_dir: Path) -> None:
    """Delete what dead imports left: their folders first, then the rows that tell of them."""
    async with database.transaction() as session:
        lapsed = await leases.list_lapsed(session, PREFIX)
    for name in lapsed:
        _, agent, import_hex = name.split(":")
        await _clear(database, name, adapters_of(adapters_dir, agent), UUID(hex=import_hex))


async def _clear(database: Database, lease: str, place: Path, import_id: UUID) -> None:
    holder = new_id()
    async with database.transaction() as session:
        if not await learner.take_lease(session, lease, holder=holder, seconds=LEASE_SECONDS):
            return
        version = await adapters.find_version_by_id(session, import_id)
    registered = Path(version.path).name if version is not None and version.path else None
    left = [
        folder
        for folder in await asyncio.to_thread(list_folders, place)
        if import_id.hex in folder.name and folder.name != registered
    ]
    await asyncio.to_thread(remove, left)
    async with database.transaction() as session:
        await leases.drop(session, lease, holder=holder)
    if left:
        log.info("leftovers of a dead import deleted", folders=[folder.name for folder in left])

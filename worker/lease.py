"""Hold a row while its arithmetic works in a thread: renew the lease, pass on the progress, stop when told."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.database import Database
from core.storage.repositories import learner

log = structlog.get_logger()

Result = TypeVar("Result")


class Renew(Protocol):
    """How a row says that it is still held, and how far its work is; False when it is another worker's."""

    async def __call__(
        self, session: AsyncSession, run_id: UUID, /, *, holder: UUID, lease_seconds: float, progress: float
    ) -> bool: ...


class RunStoppedError(Exception):
    """The work is not this process's any more; nothing of it may be written."""


class LeaseLostError(RunStoppedError):
    """Another worker has the run, or somebody ended it."""


class WorkerStoppingError(RunStoppedError):
    """This process was asked to end."""


class RunLease:
    """A run, or another row that is worked on, which this process holds."""

    def __init__(
        self,
        database: Database,
        run_id: UUID,
        holder: UUID,
        *,
        seconds: float,
        is_stopping: Callable[[], bool],
        renew: Renew,
    ) -> None:
        self.run_id = run_id
        self.holder = holder
        self._database = database
        self._seconds = seconds
        self._is_stopping = is_stopping
        self._renew_row = renew
        self._progress = 0.0
        self._stopped: RunStoppedError | None = None
        self._over = asyncio.Event()

    def report(self, fraction: float) -> None:
        """Say how far the work is. Called in the thread; raises RunStoppedError there when it is to stop."""
        if self._stopped is not None:
            raise self._stopped
        self._progress = fraction

    async def work(self, function: Callable[[], Result]) -> Result:
        """Run arithmetic in a thread. A stop does not wait for it: it ends at its next report, its result is lost."""
        work = asyncio.ensure_future(asyncio.to_thread(function))
        over = asyncio.ensure_future(self._over.wait())
        await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if self._stopped is not None:
            work.add_done_callback(_look_at)
            raise self._stopped
        return await work

    async def keep(self) -> None:
        """Renew the lease every third of it, and at once when the progress has moved, until the run is over."""
        try:
            await self._keep()
        except Exception as surprise:
            self._stop(LeaseLostError(f"the heartbeat broke: {surprise}"))
            raise

    async def _keep(self) -> None:
        pause = min(1.0, self._seconds / 3)
        renewed_at, shown = time.monotonic(), 0.0
        while self._stopped is None:
            await asyncio.sleep(pause)
            progress = self._progress
            if self._is_stopping():
                self._stop(WorkerStoppingError("this worker was asked to end"))
                return
            is_due = progress != shown or time.monotonic() - renewed_at >= self._seconds / 3
            if is_due and await self._renew(progress):
                renewed_at, shown = time.monotonic(), progress

    async def _renew(self, progress: float) -> bool:
        try:
            async with self._database.transaction() as session:
                if not await self._renew_row(
                    session, self.run_id, holder=self.holder, lease_seconds=self._seconds, progress=progress
                ):
                    self._stop(LeaseLostError("another worker has the run"))
        except DBAPIError as error:
            # Postgres may be back before anybody else asks for the run; if not, the next renewal says so.
            log.warning("lease not renewed: Postgres is away", run=self.run_id.hex, why=type(error.orig).__name__)
            return False
        return True

    def _stop(self, reason: RunStoppedError) -> None:
        self._stopped = reason
        self._over.set()


@asynccontextmanager
async def hold(
    database: Database,
    run_id: UUID,
    holder: UUID,
    *,
    seconds: float,
    is_stopping: Callable[[], bool],
    renew: Renew = learner.renew_run,
) -> AsyncIterator[RunLease]:
    """Keep a claimed run while the block runs; another kind of row where `renew` renews one."""
    lease = RunLease(database, run_id, holder, seconds=seconds, is_stopping=is_stopping, renew=renew)
    heartbeat = asyncio.create_task(lease.keep())
    try:
        yield lease
    finally:
        heartbeat.cancel()
        await asyncio.wait({heartbeat})


def _look_at(ended: asyncio.Future[Result]) -> None:
    """See how abandoned work ended, which asyncio would otherwise log as forgotten."""
    if not ended.cancelled():
        ended.exception()

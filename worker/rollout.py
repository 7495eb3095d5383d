"""Keep every engine in line with the rollouts, one process at a time."""

from uuid import uuid4

from core.engine.pool import open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage.database import Database
from core.storage.repositories import learner

LEASE = "reconcile"
LEASE_SECONDS = 60.0
"""How long engines go without care when a worker dies in the middle. A slower pass may overlap with the next: loading
what is loaded and unloading what is gone both do nothing."""


async def reconcile(database: Database, *, settings: EngineSettings) -> bool:
    """One pass over all engines; False when another process is at it."""
    holder = uuid4()
    async with database.transaction() as session:
        if not await learner.take_lease(session, LEASE, holder=holder, seconds=LEASE_SECONDS):
            return False
    try:
        async with open_pool(settings) as pool:
            await reconciling.reconcile(database, pool)
    finally:
        async with database.transaction() as session:
            await learner.release_lease(session, LEASE, holder=holder)
    return True

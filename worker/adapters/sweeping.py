"""Clear away what dead runs left behind, and never what a living one writes."""

import asyncio
from uuid import UUID

import structlog

from core.storage.database import Database
from core.storage.models import Agent, LearnerRun
from core.storage.repositories import adapters, learner
from worker.adapters.folders import list_folders, remove
from worker.adapters.places import Places
from worker.lease import LeaseLostError

log = structlog.get_logger()

KEPT_CHECKPOINTS = 2


async def sweep(database: Database, run: LearnerRun, holder: UUID, places: Places) -> None:
    """Delete the agent's folders that no row knows. The caller holds the agent's only living run.

    The order is what makes it safe: first list, then make sure that the run is still ours and read the rows. A folder
    that a later holder made is not in the list, and one that an earlier run published is in the rows.
    """
    listed = await asyncio.to_thread(lambda: (list_folders(places.adapters), list_folders(places.checkpoints)))
    async with database.transaction() as session:
        if not await learner.lock_held_run(session, run.id, holder=holder):
            raise LeaseLostError("another worker has the run")
        versions = {version.path for version in await adapters.list_versions(session, run.agent_id)}
        succeeded = {run_id.hex for run_id in await learner.list_successes(session, run.agent_id)}
    strays = [folder for folder in listed[0] if str(folder) not in versions]
    strays += [folder for folder in listed[1] if folder.name not in succeeded]
    if strays:
        await asyncio.to_thread(remove, strays)
        log.info("leftovers of dead runs deleted", folders=[folder.name for folder in strays])


async def prune_checkpoints(database: Database, agent: Agent, places: Places) -> None:
    """Delete the checkpoints of all runs that succeeded but the newest few."""
    async with database.transaction() as session:
        succeeded = await learner.list_successes(session, agent.id)
    await asyncio.to_thread(remove, [places.checkpoint(run_id) for run_id in succeeded[KEPT_CHECKPOINTS:]])

"""Clear away what dead runs left behind, and never what a living one writes."""

import asyncio
from pathlib import Path
from uuid import UUID

import structlog

from core.adapters.folders import list_folders, remove
from core.storage.database import Database
from core.storage.models import Agent, LearnerRun
from core.storage.repositories import adapters, learner
from worker.adapters.places import Places, run_of
from worker.lease import LeaseLostError

log = structlog.get_logger()

KEPT_CHECKPOINTS = 2


async def sweep(database: Database, run: LearnerRun, holder: UUID, places: Places) -> None:
    """Delete what earlier attempts left in the agent's folders. The caller holds the agent's only living run.

    The order is what makes it safe: first list, then make sure that the run is still ours and read the rows. A folder
    that a later holder made is not in the list, and one that an earlier run published is in the rows. Folders of runs
    that this database does not know are left alone: another deployment may share the disk.
    """
    listed = await asyncio.to_thread(lambda: [*list_folders(places.adapters), *list_folders(places.checkpoints)])
    async with database.transaction() as session:
        if not await learner.lock_held_run(session, run.id, holder=holder):
            raise LeaseLostError("another worker has the run")
        versions = await adapters.list_versions(session, run.agent_id)
        learned = await learner.list_learned(session, run.agent_id)
        known = set(await learner.list_run_ids(session, run.agent_id))
    # By name, not by path: the disk may be mounted elsewhere than when the version was registered.
    kept = {Path(version.path).name for version in versions if version.path} | {run_id.hex for run_id in learned}
    strays = [folder for folder in listed if run_of(folder) in known and folder.name not in kept]
    if strays:
        await asyncio.to_thread(remove, strays)
        log.info("leftovers of dead runs deleted", folders=[folder.name for folder in strays])


async def prune_checkpoints(database: Database, agent: Agent, places: Places) -> None:
    """Delete the checkpoints of all runs but the newest few that left one, whether or not the actor learned too."""
    async with database.transaction() as session:
        learned = await learner.list_learned(session, agent.id)
    await asyncio.to_thread(remove, [places.checkpoint(run_id) for run_id in learned[KEPT_CHECKPOINTS:]])

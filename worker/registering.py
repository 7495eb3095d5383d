"""The end of a run that learned: in one transaction the folders get their places and the row says what became of it."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.adapters.folders import publish, remove, seal
from core.domain.adapters import AdapterName, AdapterState
from core.domain.erasure import BARRING, ErasurePolicy, strictest
from core.rollouts.asking import ask_for_all
from core.rollouts.loading import WEIGHTS
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, LearnerRun, RunState, RunTurn
from core.storage.repositories import adapters, agents, learner, replay, rewards, turns
from worker.adapters.places import Places
from worker.lease import LeaseLostError
from worker.preparing import Prepared
from worker.training import Trained


async def register(
    database: Database,
    run: LearnerRun,
    agent: Agent,
    holder: UUID,
    places: Places,
    prepared: Prepared,
    trained: Trained,
    described: Mapping[str, object],
) -> AdapterName:
    """Make what was trained the agent's newest candidate, unless the run is this worker's no more.

    The folders move inside the transaction. When its commit fails in a way that leaves its outcome unknown they stay:
    the row may be there, and if it is not, the next run sweeps them.
    """
    sha256 = await asyncio.to_thread(_finish, prepared.assignment.adapter_folder, prepared.assignment.checkpoint_folder)
    published: list[Path] = []
    try:
        async with database.transaction() as session:
            taught = await _look_back(session, agent, prepared, run, trained)
            name = AdapterName(agent.name, await adapters.next_number(session, agent.id))
            published = [places.adapter(name, run.id), places.checkpoint(run.id)]
            await asyncio.to_thread(publish, prepared.assignment.adapter_folder, published[0])
            await asyncio.to_thread(publish, prepared.assignment.checkpoint_folder, published[1])
            version = await _add_version(session, run, name, agent, prepared, published[0], sha256, taught.mark)
            await _keep_lessons(session, agent, taught, trained)
            await replay.mark_taught(session, prepared.as_read, read_at=prepared.read_at)
            ended = {**described, **taught.columns, "watermark": prepared.watermark, "adapter_id": version.id}
            if not await learner.end_run(
                session, run.id, holder=holder, state=RunState.SUCCEEDED, reason=None, progress=1.0, **ended
            ):
                raise LeaseLostError("another worker has the run")
            await _follow_up(session, agent, taught)
    except LeaseLostError:
        await asyncio.to_thread(remove, published)
        raise
    return name


async def keep_critic(
    database: Database,
    run: LearnerRun,
    agent: Agent,
    holder: UUID,
    places: Places,
    prepared: Prepared,
    trained: Trained,
    described: Mapping[str, object],
) -> None:
    """End a run in which the critic alone learned: skipped, but its checkpoint is where the next critic begins.

    Its watermark says up to where the critic has seen outcomes: the schedule waits for newer ones. To the actor they
    are still new. The lock keeps the run ours until the commit, so a folder that moved never has to be taken back.
    """
    await asyncio.to_thread(seal, prepared.assignment.checkpoint_folder)
    async with database.transaction() as session:
        taught = await _look_back(session, agent, prepared, run, trained)
        if not await learner.lock_held_run(session, run.id, holder=holder):
            raise LeaseLostError("another worker has the run")
        await asyncio.to_thread(publish, prepared.assignment.checkpoint_folder, places.checkpoint(run.id))
        await _keep_lessons(session, agent, taught, trained)
        ended = {**described, **taught.columns, "watermark": prepared.watermark, "progress": 1.0}
        await learner.end_run(session, run.id, holder=holder, state=RunState.SKIPPED, **ended)
        await _follow_up(session, agent, taught)


def _finish(adapter: Path, checkpoint: Path) -> str:
    """Flush both folders; the SHA-256 of the adapter's weights."""
    seal(adapter)
    seal(checkpoint)
    with (adapter / WEIGHTS).open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class LookBack:
    """What the run was taught, less what was erased while it learned."""

    lessons: Sequence[RunTurn]
    columns: Mapping[str, object]
    mark: ErasurePolicy | None


async def _look_back(
    session: AsyncSession, agent: Agent, prepared: Prepared, run: LearnerRun, trained: Trained
) -> LookBack:
    """Take the agent's lock, which an erasure takes too, and see whether what was learned from is still there.

    What began with a version or a critic that is marked by now is marked as well.
    """
    policy = (await agents.lock_agent(session, agent.name)).erasure
    lineage = _lineage(run.id, trained)
    existing = await turns.list_existing(session, [lesson.turn_id for lesson in lineage])
    lessons = [lesson for lesson in lineage if lesson.turn_id in existing]
    erased = len(lineage) - len(lessons)
    start = await adapters.get_version_by_id(session, prepared.start.id)
    critic = await learner.find_run(session, trained.critic_run_id) if trained.critic_run_id else None
    inherited = [start.taught_by_erased, critic.taught_by_erased if critic else None]
    mark = strictest([policy if erased else None, *inherited])
    columns = {"critic_run_id": trained.critic_run_id, "erased_turns": erased, "taught_by_erased": mark}
    return LookBack(lessons, columns, mark)


async def _follow_up(session: AsyncSession, agent: Agent, taught: LookBack) -> None:
    """Learn once more without what was erased meanwhile, where the agent wants that."""
    if taught.mark is ErasurePolicy.RETRAIN:
        await learner.ask_for_run(session, agent.id)


async def _add_version(
    session: AsyncSession,
    run: LearnerRun,
    name: AdapterName,
    agent: Agent,
    prepared: Prepared,
    folder: Path,
    sha256: str,
    mark: ErasurePolicy | None,
) -> AdapterVersion:
    """The newest candidate, which supersedes the others; one that may never serve is retired from the first."""
    version = await adapters.add_version(
        session,
        AdapterVersion(
            agent_id=agent.id,
            number=name.number,
            state=AdapterState.RETIRED if mark in BARRING else AdapterState.CANDIDATE,
            taught_by_erased=mark,
            parent_id=prepared.start.id,
            run_id=run.id,
            path=str(folder),
            sha256=sha256,
        ),
    )
    if mark not in BARRING:
        await adapters.retire_candidates(session, agent.id, but=version.id)
        await ask_for_all(session, await agents.get_agent_by_id(session, agent.id), version.id)  # as it is by now
    return version


async def _keep_lessons(session: AsyncSession, agent: Agent, taught: LookBack, trained: Trained) -> None:
    """Which turns taught, and the tokens that demonstrations were made into."""
    await learner.add_run_turns(session, taught.lessons)
    await rewards.keep_demonstrated_tokens(session, agent.base_model, trained.completions)


def _lineage(run_id: UUID, trained: Trained) -> list[RunTurn]:
    """Each turn with what it earned, what was demonstrated at it, or both."""
    learned = trained.skipped is None
    rewards_of = {lesson.turn_id: lesson.earned for lesson in trained.lessons}
    trains_actor = {lesson.turn_id for lesson in trained.lessons if lesson.transition.trains_actor}
    return [
        RunTurn(
            run_id=run_id,
            turn_id=turn_id,
            reward=rewards_of.get(turn_id),
            trained_actor=learned and turn_id in trains_actor | trained.demonstrated,
            demonstrated=turn_id in trained.demonstrated,
        )
        for turn_id in sorted(rewards_of.keys() | trained.demonstrated)
    ]

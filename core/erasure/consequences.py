"""Which versions and runs learned from what is being erased, their mark, and what the agent's policy does to them."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.adapters import AdapterName
from core.domain.erasure import ErasurePolicy, spread, strictest
from core.erasure.report import Consequences, TaughtVersion
from core.rollouts.retiring import bar
from core.storage.models import AdapterVersion, Agent, LearnerRun
from core.storage.repositories import adapters, learner

REASON = "what it learned from was erased"


async def follow(session: AsyncSession, agent: Agent, lessons: Mapping[UUID, int], *, by: str) -> Consequences:
    """Mark what learned from the erased turns, which `lessons` counts for each run; then do as the agent says.

    The caller holds the agent's lock: no run registers a version meanwhile.
    """
    running = await learner.find_running(session, agent.id)
    versions = await adapters.list_versions(session, agent.id)
    runs = await learner.list_all(session, agent.id)
    await learner.count_erased(session, lessons)
    learned = spread(lessons, _beginnings(runs, versions))
    newly = _mark([*runs, *versions], learned, agent.erasure)
    taught = [version for version in versions if version.id in learned]
    await session.flush()
    stable = queued = None
    if taught and agent.erasure is not ErasurePolicy.KEEP:
        cut = agent.erasure is ErasurePolicy.RETIRE
        stable = await bar(session, agent, taught, cut=cut, by=by, reason=REASON)
    if agent.erasure is ErasurePolicy.RETRAIN and any(version.id in newly for version in taught):
        queued = await learner.ask_for_run(session, agent.id)
    return Consequences(
        policy=agent.erasure,
        runs={ids.public(ids.Prefix.RUN, run): turns for run, turns in lessons.items()},
        versions=[_describe(agent, version, lessons) for version in taught],
        stable=None if stable is None else str(AdapterName(agent.name, stable.number)),
        queued_run=None if queued is None else ids.public(ids.Prefix.RUN, queued),
        running=None if running is None else ids.public(ids.Prefix.RUN, running),
    )


def _beginnings(runs: Sequence[LearnerRun], versions: Sequence[AdapterVersion]) -> dict[UUID, Collection[UUID | None]]:
    """What each run and version began with: a version with its run and parent, a run with its critic's run too."""
    parents = {version.id: version.parent_id for version in versions}
    of_runs: dict[UUID, Collection[UUID | None]] = {
        run.id: (run.critic_run_id, parents.get(run.adapter_id) if run.adapter_id else None) for run in runs
    }
    return of_runs | {version.id: (version.run_id, version.parent_id) for version in versions}


def _mark(
    rows: Sequence[LearnerRun | AdapterVersion], learned: Collection[UUID], policy: ErasurePolicy
) -> Collection[UUID]:
    """Mark those that learned; the ones whose mark is new or stricter than before."""
    changed = set()
    for row in rows:
        mark = strictest([row.taught_by_erased, policy])
        if row.id in learned and row.taught_by_erased is not mark:
            row.taught_by_erased = mark
            changed.add(row.id)
    return changed


def _describe(agent: Agent, version: AdapterVersion, lessons: Mapping[UUID, int]) -> TaughtVersion:
    turns = lessons.get(version.run_id, 0) if version.run_id else 0
    assert version.taught_by_erased is not None
    return TaughtVersion(
        adapter=str(AdapterName(agent.name, version.number)),
        learned="from it" if turns else "from what had learned from it",
        turns=turns,
        marked=version.taught_by_erased,
    )

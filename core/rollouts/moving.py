"""Promote, roll back, reject: load and probe first, then move the pointer by compare-and-set, with an event."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.canaries import CanaryState
from core.domain.episodes import EpisodeEnd
from core.domain.erasure import BARRING
from core.domain.errors import ConflictError
from core.engine.pool import EnginePool
from core.rollouts.evidence import check_promotable, gathered
from core.rollouts.promotable import check_usable
from core.rollouts.proving import prove
from core.rollouts.telling import record
from core.rollouts.trying import close, end
from core.storage.database import Database
from core.storage.models import AdapterVersion, Canary, Rollout, RolloutEvent
from core.storage.repositories import adapters, agents, canaries, conversations, residency, rollouts


async def promote(
    database: Database, pool: EnginePool, name: AdapterName, *, by: str, reason: str, force: bool = False
) -> Rollout:
    """Make a version the stable one: loaded and proved on an engine before anybody is sent to it. Idempotent.

    It ends the trial that runs, whichever version that is of. Raises NotFoundError, ConflictError for a rejected
    version, for missing evidence unless `force`, or for a failed probe, DamagedAdapterError for files that are not
    those registered, and EngineError when no engine can: no half promotion.
    """
    async with database.transaction() as session:
        version = await adapters.get_version(session, name)
        agent = await agents.get_agent_by_id(session, version.agent_id)
        rollout = await rollouts.get_rollout(session, version.agent_id)
        if rollout.stable_id == version.id:
            return rollout
        check_usable(version, name)
        missing = await check_promotable(session, agent, version, name, force=force)
    probes = await prove(database, pool, agent, version, name)
    async with database.transaction() as session:
        await rollouts.lock_rollout(session, version.agent_id)
        check_usable(await adapters.lock_version(session, version.id), name)
        missing = await check_promotable(session, agent, version, name, force=force)
        await residency.want(session, [probe["engine"] for probe in probes], version.id, seconds=0)
        evidence = await gathered(session, version) | {"probes": probes, "forced_without": missing}
        return await move(
            session,
            rollout,
            version.id,
            rollout.stable_id,
            kind="promote",
            by=by,
            reason=reason,
            evidence=evidence,
        )


async def roll_back(database: Database, agent_name: str, *, by: str, reason: str) -> Rollout:
    """Go back to the previous stable version, which is still loaded: no engine is asked."""
    async with database.transaction() as session:
        agent = await agents.get_agent(session, agent_name)
        rollout = await rollouts.lock_rollout(session, agent.id)
        return await _step_back(session, rollout, kind="rollback", by=by, reason=reason)


async def reject(database: Database, name: AdapterName, *, by: str, reason: str, cut: bool) -> AdapterVersion:
    """Take a version out for ever. The stable one is rolled back first; open episodes end (`cut`) or go on."""
    if name.number == BASE_NUMBER:
        raise ConflictError("The base model cannot be rejected: it is what every rollback ends at.")
    async with database.transaction() as session:
        found = await adapters.get_version(session, name)
        rollout = await rollouts.lock_rollout(session, found.agent_id)
        version = await adapters.lock_version(session, found.id)
        if version.state is AdapterState.REJECTED:
            if cut and await conversations.end_episodes_of_adapter(session, version.id, EpisodeEnd.REJECTED):
                await _record_rejection(session, rollout, version, cut=cut, by=by, reason=reason, evidence={})
            return version
        tried = await canaries.find_canary(session, rollout.canary_id)
        if tried is not None and tried.adapter_id == version.id:
            rollout = await end(session, rollout, CanaryState.ROLLED_BACK, by=by, reason=reason)
        elif rollout.stable_id == version.id:
            rollout = await _step_back(session, rollout, kind="rollback", by=by, reason=reason)
        await _take_out(session, rollout, version, cut=cut, by=by, reason=reason, evidence={})
        return version


async def reject_tried(session: AsyncSession, rollout: Rollout, canary: Canary, *, by: str, reason: str) -> None:
    """End the trial that runs and reject its version: nobody stays on it. The caller holds the rollout's lock."""
    moved = await end(session, rollout, CanaryState.ROLLED_BACK, by=by, reason=reason)
    version = await adapters.lock_version(session, canary.adapter_id)
    await _take_out(session, moved, version, cut=True, by=by, reason=reason, evidence={"seen": canary.evidence})


async def _take_out(
    session: AsyncSession,
    rollout: Rollout,
    version: AdapterVersion,
    *,
    cut: bool,
    by: str,
    reason: str,
    evidence: dict[str, Any],
) -> None:
    version.state = AdapterState.REJECTED
    await session.flush()
    if rollout.previous_id == version.id:  # the next rollback goes further back
        rollout.previous_id = await usable_before(session, version.agent_id, version.id, but=rollout.stable_id)
    if cut:
        await conversations.end_episodes_of_adapter(session, version.id, EpisodeEnd.REJECTED)
    await _record_rejection(session, rollout, version, cut=cut, by=by, reason=reason, evidence=evidence)


async def _record_rejection(
    session: AsyncSession,
    rollout: Rollout,
    version: AdapterVersion,
    *,
    cut: bool,
    by: str,
    reason: str,
    evidence: dict[str, Any],
) -> None:
    await record(
        session,
        RolloutEvent(
            agent_id=version.agent_id,
            generation=rollout.generation,
            kind="reject",
            from_id=version.id,
            to_id=rollout.stable_id,
            by=by,
            reason=reason,
            evidence={"open": "cut" if cut else "finish", **evidence},
        ),
    )


async def _step_back(session: AsyncSession, rollout: Rollout, *, kind: str, by: str, reason: str) -> Rollout:
    if rollout.previous_id is None:
        raise ConflictError("There is no earlier version to go back to.", code="nothing_to_roll_back_to")
    before = await usable_before(session, rollout.agent_id, rollout.previous_id)
    return await move(session, rollout, rollout.previous_id, before, kind=kind, by=by, reason=reason, evidence={})


async def usable_before(
    session: AsyncSession, agent_id: UUID, version_id: UUID, *, but: UUID | None = None
) -> UUID | None:
    """The version that stood before this one was promoted, leaving out those that nobody may be sent to any more, and
    `but`, which serves now."""
    for before in await rollouts.list_before(session, agent_id, version_id):
        if before is None or before in (version_id, but):
            continue
        version = await adapters.get_version_by_id(session, before)
        if version.state is not AdapterState.REJECTED and version.taught_by_erased not in BARRING:
            return before
    return None


async def move(
    session: AsyncSession,
    rollout: Rollout,
    to: UUID,
    previous: UUID | None,
    *,
    kind: str,
    by: str,
    reason: str,
    evidence: dict[str, Any],
) -> Rollout:
    """Move the row, the two states and the history together; a move that somebody else made first wins.

    A trial that runs ends: promoted if it was of this version, else stopped, for what it was beside serves no more.
    """
    running = await canaries.find_canary(session, rollout.canary_id)
    is_tried = running is not None and running.adapter_id == to
    await close(session, rollout, CanaryState.PROMOTED if is_tried else CanaryState.STOPPED)
    if not await rollouts.move(session, rollout, stable_id=to, previous_id=previous, by=by, reason=reason):
        raise ConflictError("The rollout moved meanwhile; look at it and try again.", code="rollout_moved")
    (await adapters.get_version_by_id(session, rollout.stable_id)).state = AdapterState.RETIRED
    (await adapters.get_version_by_id(session, to)).state = AdapterState.STABLE
    await record(
        session,
        RolloutEvent(
            agent_id=rollout.agent_id,
            generation=rollout.generation + 1,
            kind=kind,
            from_id=rollout.stable_id,
            to_id=to,
            by=by,
            reason=reason,
            evidence=evidence,
        ),
    )
    await session.flush()
    return await rollouts.get_rollout(session, rollout.agent_id)

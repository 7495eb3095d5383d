"""Promote, roll back, reject: load and probe first, then move the pointer by compare-and-set, with an event."""

import asyncio
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.episodes import EpisodeEnd
from core.domain.erasure import BARRING
from core.domain.errors import ConflictError
from core.engine.pool import EnginePool, PooledEngine
from core.rollouts.loading import load
from core.rollouts.probing import probe
from core.storage.database import Database
from core.storage.models import AdapterVersion, Agent, Rollout, RolloutEvent
from core.storage.repositories import adapters, agents, conversations, rollouts

WANTED_SECONDS = 600.0
"""How long a version that is being promoted is safe from the reconciler, should the promoting process die."""


async def promote(database: Database, pool: EnginePool, name: AdapterName, *, by: str, reason: str) -> Rollout:
    """Make a version the stable one: loaded and probed on every engine before anybody is sent to it. Idempotent.

    Raises NotFoundError, ConflictError for a rejected version or a failed probe, DamagedAdapterError for files that
    are not those registered, and EngineError when an engine is down: no half promotion.
    """
    async with database.transaction() as session:
        version = await adapters.get_version(session, name)
        agent = await agents.get_agent_by_id(session, version.agent_id)
        rollout = await rollouts.get_rollout(session, version.agent_id)
        if rollout.stable_id == version.id:
            return rollout
        _check_promotable(version, name)
    await pool.refresh()
    engines = pool.all_of(agent.base_model)
    async with database.transaction() as session:
        await adapters.want(session, [engine.client.url for engine in engines], version.id, seconds=WANTED_SECONDS)
    evidence = await asyncio.gather(*(_prove(engine, agent, version, name) for engine in engines))
    async with database.transaction() as session:
        await rollouts.lock_rollout(session, version.agent_id)
        _check_promotable(await adapters.lock_version(session, version.id), name)
        await adapters.want(session, [engine.client.url for engine in engines], version.id, seconds=0)
        return await move(
            session,
            rollout,
            version.id,
            rollout.stable_id,
            kind="promote",
            by=by,
            reason=reason,
            evidence={"probes": evidence},
        )


async def _prove(engine: PooledEngine, agent: Agent, version: AdapterVersion, name: AdapterName) -> dict[str, Any]:
    await load(engine.client, version, name)
    if version.number == BASE_NUMBER:
        return {"engine": engine.client.url}
    return {"engine": engine.client.url} | await probe(engine.client, agent.base_model, name)


def _check_promotable(version: AdapterVersion, name: AdapterName) -> None:
    if version.state is AdapterState.REJECTED:
        raise ConflictError(f"{name} was rejected; a rejected version is never promoted.", code="adapter_rejected")
    if version.taught_by_erased in BARRING:
        raise ConflictError(f"{name} learned from what was erased since.", code="taught_by_erased")


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
            if cut:
                await conversations.end_episodes_of_adapter(session, version.id, EpisodeEnd.REJECTED)
            return version
        if rollout.stable_id == version.id:
            await _step_back(session, rollout, kind="rollback", by=by, reason=reason)
        elif rollout.previous_id == version.id:
            rollout.previous_id = await usable_before(session, version.agent_id, version.id)
        version.state = AdapterState.REJECTED
        if cut:
            await conversations.end_episodes_of_adapter(session, version.id, EpisodeEnd.REJECTED)
        await rollouts.add_event(
            session,
            RolloutEvent(
                agent_id=version.agent_id,
                generation=rollout.generation,
                kind="reject",
                from_id=version.id,
                to_id=rollout.stable_id,
                by=by,
                reason=reason,
                evidence={"open": "cut" if cut else "finish"},
            ),
        )
        return version


async def _step_back(session: AsyncSession, rollout: Rollout, *, kind: str, by: str, reason: str) -> Rollout:
    if rollout.previous_id is None:
        raise ConflictError("There is no earlier version to go back to.", code="nothing_to_roll_back_to")
    before = await usable_before(session, rollout.agent_id, rollout.previous_id)
    return await move(session, rollout, rollout.previous_id, before, kind=kind, by=by, reason=reason, evidence={})


async def usable_before(session: AsyncSession, agent_id: UUID, version_id: UUID) -> UUID | None:
    """The version that stood before this one was promoted, leaving out those that nobody may be sent to any more."""
    seen = {version_id}
    before = await rollouts.version_before(session, agent_id, version_id)
    while before is not None and before not in seen:
        seen.add(before)
        version = await adapters.get_version_by_id(session, before)
        if version.state is not AdapterState.REJECTED and version.taught_by_erased not in BARRING:
            return before
        before = await rollouts.version_before(session, agent_id, before)
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
    """Move the row, the two states and the history together; a move that somebody else made first wins."""
    if not await rollouts.move(session, rollout, stable_id=to, previous_id=previous, by=by, reason=reason):
        raise ConflictError("The rollout moved meanwhile; look at it and try again.", code="rollout_moved")
    (await adapters.get_version_by_id(session, rollout.stable_id)).state = AdapterState.RETIRED
    (await adapters.get_version_by_id(session, to)).state = AdapterState.STABLE
    await rollouts.add_event(
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

"""Begin a trial of a version, change its share, end it: each under the rollout row's lock and with an event."""

from typing import Any

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterName, AdapterState
from core.domain.canaries import CanaryState
from core.domain.errors import ConflictError
from core.domain.gates import Gates, measures_of
from core.engine.pool import EnginePool
from core.rollouts.evidence import check_triable
from core.rollouts.promotable import check_usable
from core.rollouts.proving import prove
from core.rollouts.telling import record
from core.storage.database import Database
from core.storage.models import Canary, Rollout, RolloutEvent
from core.storage.repositories import adapters, agents, canaries, residency, rollouts


async def begin(
    database: Database, pool: EnginePool, name: AdapterName, *, weight: float, by: str, reason: str, force: bool = False
) -> Rollout:
    """Let a share of new conversations meet the version; where it is on trial already, change the share.

    Loaded and proved on its engines first. Raises ConflictError for a version in service, one that may not serve, one
    that lacks evidence unless `force`, and while another one is on trial.
    """
    async with database.transaction() as session:
        version = await adapters.get_version(session, name)
        agent = await agents.get_agent_by_id(session, version.agent_id)
        rollout = await rollouts.get_rollout(session, agent.id)
        running = await canaries.find_canary(session, rollout.canary_id)
        if running is not None and running.adapter_id == version.id:
            rollout = await rollouts.lock_rollout(session, agent.id)
            if rollout.canary_id != running.id:
                raise ConflictError("Its trial ended meanwhile; look at it and try again.", code="rollout_moved")
            return await set_weight(session, rollout, weight, by=by, reason=reason)
        if running is not None:
            tried = (await adapters.names_of(session, [running.adapter_id]))[running.adapter_id]
            raise ConflictError(f"{tried} is on trial: stop it with weight 0 first.", code="canary_running")
        if rollout.stable_id == version.id:
            raise ConflictError(f"{name} is the stable version already.", code="already_stable")
        if version.number == BASE_NUMBER:
            raise ConflictError("The base model needs no trial: promote it.", code="base_needs_no_trial")
        check_usable(version, name)
        missing = await check_triable(session, agent, version, name, force=force)
        gates = Gates.from_json(agent.gates)
        measures = measures_of(gates, await agents.list_metrics(session, agent.id))
    probes = await prove(database, pool, agent, version, name)
    async with database.transaction() as session:
        rollout = await rollouts.lock_rollout(session, agent.id)
        if rollout.canary_id is not None:
            raise ConflictError("Another version went on trial meanwhile.", code="canary_running")
        if rollout.stable_id == version.id:
            raise ConflictError(f"{name} became the stable version meanwhile.", code="already_stable")
        locked = await adapters.lock_version(session, version.id)
        check_usable(locked, name)
        locked.state = AdapterState.CANARY
        canary = Canary(
            agent_id=agent.id,
            adapter_id=version.id,
            stable_id=rollout.stable_id,
            gates=gates.to_json(),
            measures=[measure.to_json() for measure in measures],
            weight=weight,
            by=by,
            reason=reason,
        )
        session.add(canary)
        await session.flush()
        rollout.canary_id = canary.id
        await residency.want(session, [probe["engine"] for probe in probes], version.id, seconds=0)
        evidence = {"probes": probes, "forced_without": missing, "weight": weight}
        return await _turn(session, rollout, canary, weight, kind="canary", by=by, reason=reason, evidence=evidence)


async def stop(database: Database, name: AdapterName, *, by: str, reason: str) -> Rollout:
    """End the trial of this version by hand; nothing where it is not on trial."""
    async with database.transaction() as session:
        version = await adapters.get_version(session, name)
        rollout = await rollouts.lock_rollout(session, version.agent_id)
        running = await canaries.find_canary(session, rollout.canary_id)
        if running is None or running.adapter_id != version.id:
            return rollout
        return await end(session, rollout, CanaryState.STOPPED, by=by, reason=reason)


async def set_weight(session: AsyncSession, rollout: Rollout, weight: float, *, by: str, reason: str) -> Rollout:
    """Change the share of the trial that runs; the caller holds the rollout's lock. Nothing ends the trial."""
    assert rollout.canary_id is not None
    canary = await canaries.lock_canary(session, rollout.canary_id)
    if weight == canary.weight:
        return rollout
    evidence = {"from": canary.weight, "weight": weight, "seen": canary.evidence}
    return await _turn(session, rollout, canary, weight, kind="ramp", by=by, reason=reason, evidence=evidence)


async def end(session: AsyncSession, rollout: Rollout, state: CanaryState, *, by: str, reason: str) -> Rollout:
    """End the trial that runs without promoting anybody; the caller holds the rollout's lock.

    A version that was stopped may be tried again unless a newer one came; open episodes go on to their end.
    """
    canary = await close(session, rollout, state)
    assert canary is not None
    rollout.canary_id = None
    evidence: dict[str, Any] = {"ended_as": state.value, "seen": canary.evidence}
    return await _turn(session, rollout, canary, 0.0, kind="canary_end", by=by, reason=reason, evidence=evidence)


async def close(session: AsyncSession, rollout: Rollout, state: CanaryState) -> Canary | None:
    """Write down how the trial ended and what its version is now; None where none runs. Moves no pointer."""
    if rollout.canary_id is None:
        return None
    canary = await canaries.lock_canary(session, rollout.canary_id)
    canary.state, canary.ended_at, canary.weight = state, func.clock_timestamp(), 0.0
    version = await adapters.lock_version(session, canary.adapter_id)
    if version.state is AdapterState.CANARY:
        waiting = await adapters.list_candidates(session, rollout.agent_id)
        is_newest = all(one.number < version.number for one in waiting)
        may_return = state is CanaryState.STOPPED and is_newest
        version.state = AdapterState.CANDIDATE if may_return else AdapterState.RETIRED
    await session.flush()
    return canary


async def _turn(
    session: AsyncSession,
    rollout: Rollout,
    canary: Canary,
    weight: float,
    *,
    kind: str,
    by: str,
    reason: str,
    evidence: dict[str, Any],
) -> Rollout:
    """Write the share into both rows, the event into the history, and wake the gateways at commit."""
    rollout.weight, rollout.by, rollout.reason, rollout.since = weight, by, reason, func.now()
    rollout.generation += 1
    if canary.state is CanaryState.RUNNING:
        canary.weight, canary.weight_since = weight, func.clock_timestamp()
    await record(
        session,
        RolloutEvent(
            agent_id=rollout.agent_id,
            generation=rollout.generation,
            kind=kind,
            from_id=rollout.stable_id,
            to_id=canary.adapter_id,
            by=by,
            reason=reason,
            evidence=evidence,
        ),
    )
    await rollouts.announce(session)
    await session.flush()
    return await rollouts.get_rollout(session, rollout.agent_id)

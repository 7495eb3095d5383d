"""Promote, try, roll back, reject, and what the rollout is and was."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import AdapterName
from core.rollouts import moving, trying
from core.storage.models import Canary, RolloutEvent
from core.storage.repositories import adapters, agents, canaries, rollouts
from service.adapters.naming import named
from service.adapters.schemas import AdapterOut
from service.adapters.showing import show
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep, check_sees
from service.errors import ErrorBody
from service.rollouts.schemas import (
    Canaries,
    CanaryIn,
    CanaryOut,
    EventOut,
    Events,
    PromoteIn,
    RejectIn,
    RollBackIn,
    RolloutOut,
    check_reason,
)
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 422, 502, 503, 504)
}

router = APIRouter(prefix="/admin", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.post("/adapters/{adapter}/promote")
async def promote_adapter(adapter: str, body: PromoteIn, gateway: GatewayDep, key: AdminKeyDep) -> RolloutOut:
    """Make this the stable version: loaded and proved on its engines first. Open episodes stay on their own."""
    name = named(adapter, key)
    check_reason(body.force, body.reason)
    await moving.promote(gateway.database, gateway.pool, name, by=key.public_id, reason=body.reason, force=body.force)
    return await _answer(gateway, name.agent)


@router.post("/adapters/{adapter}/canary")
async def try_adapter(adapter: str, body: CanaryIn, gateway: GatewayDep, key: AdminKeyDep) -> RolloutOut:
    """Let a share of new conversations meet this version, loaded and probed first; 0 stops its trial."""
    name = named(adapter, key)
    check_reason(body.force, body.reason)
    if body.weight == 0:
        await trying.stop(gateway.database, name, by=key.public_id, reason=body.reason)
    else:
        await trying.begin(
            gateway.database,
            gateway.pool,
            name,
            weight=body.weight,
            by=key.public_id,
            reason=body.reason,
            force=body.force,
        )
    return await _answer(gateway, name.agent)


@router.get("/agents/{agent}/canaries")
async def list_canaries(
    agent: str, session: SessionDep, key: AdminKeyDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Canaries:
    """The trials of an agent's versions, newest first, each with what its last look saw."""
    check_sees(key, agent)
    found = await agents.get_agent(session, agent)
    rows = await canaries.list_of_agent(session, found.id, limit=limit)
    names = await adapters.names_of(session, {one for row in rows for one in (row.adapter_id, row.stable_id)})
    return Canaries(data=[_show_canary(row, names) for row in rows])


@router.get("/agents/{agent}/rollout/events")
async def list_events(agent: str, session: SessionDep, key: AdminKeyDep) -> Events:
    """Every move of the agent's rollout, oldest first: who, why and on what evidence."""
    check_sees(key, agent)
    found = await agents.get_agent(session, agent)
    rows = await rollouts.list_events(session, found.id)
    names = await adapters.names_of(session, {one for row in rows for one in (row.from_id, row.to_id) if one})
    return Events(data=[_show_event(row, names) for row in rows])


@router.post("/agents/{agent}/rollback")
async def roll_back(agent: str, gateway: GatewayDep, key: AdminKeyDep, body: RollBackIn | None = None) -> RolloutOut:
    """Back to the version before, which is still loaded."""
    check_sees(key, agent)
    await moving.roll_back(gateway.database, agent, by=key.public_id, reason=body.reason if body else "")
    return await _answer(gateway, agent)


@router.post("/adapters/{adapter}/reject")
async def reject_adapter(
    adapter: str, gateway: GatewayDep, key: AdminKeyDep, body: RejectIn | None = None
) -> AdapterOut:
    """Take a version out of service for ever; the stable one is rolled back first."""
    given = body or RejectIn()
    name = named(adapter, key)
    await moving.reject(gateway.database, name, by=key.public_id, reason=given.reason, cut=given.open == "cut")
    await gateway.routing.refresh(gateway.database)
    async with gateway.database.transaction() as session:
        return await show(session, await adapters.get_version(session, name))


@router.get("/agents/{agent}/rollout")
async def get_rollout(agent: str, session: SessionDep, key: AdminKeyDep) -> RolloutOut:
    """Which version is in service, since when, by whom and why."""
    check_sees(key, agent)
    return await _show_rollout(session, agent)


async def _answer(gateway: GatewayDep, agent: str) -> RolloutOut:
    """The rollout after a move; this process follows before it answers, the others within the notification."""
    await gateway.routing.refresh(gateway.database)
    async with gateway.database.transaction() as session:
        return await _show_rollout(session, agent)


async def _show_rollout(session: AsyncSession, agent: str) -> RolloutOut:
    found = await agents.get_agent(session, agent)
    rollout = await rollouts.get_rollout(session, found.id)
    canary = await canaries.find_canary(session, rollout.canary_id)
    tried_id = None if canary is None else canary.adapter_id
    names = await adapters.names_of(session, [one for one in (rollout.stable_id, tried_id) if one])
    return RolloutOut(
        agent=agent,
        stable=str(names[rollout.stable_id]),
        canary=str(names[tried_id]) if tried_id else None,
        weight=rollout.weight,
        since=rollout.since,
        by=rollout.by,
        reason=rollout.reason,
    )


def _show_canary(row: Canary, names: Mapping[UUID, AdapterName]) -> CanaryOut:
    return CanaryOut(
        adapter=str(names[row.adapter_id]),
        beside=str(names[row.stable_id]),
        state=row.state,
        weight=row.weight,
        gates=row.gates,
        verdict=row.verdict,
        evidence=row.evidence,
        by=row.by,
        reason=row.reason,
        started_at=row.started_at,
        looked_at=row.looked_at,
        ended_at=row.ended_at,
    )


def _show_event(row: RolloutEvent, names: Mapping[UUID, AdapterName]) -> EventOut:
    return EventOut(
        kind=row.kind,
        generation=row.generation,
        stable_before=str(names[row.from_id]) if row.from_id else None,
        adapter=str(names[row.to_id]),
        by=row.by,
        reason=row.reason,
        evidence=row.evidence,
        at=row.created_at,
    )

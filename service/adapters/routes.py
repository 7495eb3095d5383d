"""Versions and rollout: list, show, promote, roll back, reject."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.adapters import AdapterName, parse_adapter_name
from core.domain.errors import NotFoundError
from core.domain.keys import Key
from core.rollouts import moving
from core.storage.models import AdapterVersion
from core.storage.repositories import adapters, agents, evaluations, rollouts
from service.adapters.evidence import show_evaluation
from service.adapters.lineage import show_lineage
from service.adapters.schemas import AdapterOut, Adapters, LineageOut, PromoteIn, RejectIn, RollBackIn, RolloutOut
from service.bodies import StrictRoute
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep, check_sees
from service.errors import ErrorBody

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 422, 502, 503, 504)
}

router = APIRouter(prefix="/admin", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.get("/agents/{agent}/adapters")
async def list_adapters(agent: str, session: SessionDep, key: AdminKeyDep) -> Adapters:
    """All versions of an agent, oldest first; the first is its base model."""
    check_sees(key, agent)
    found = await agents.get_agent(session, agent)
    rows = await adapters.list_versions(session, found.id)
    return Adapters(data=[await _show(session, row) for row in rows])


@router.get("/adapters/{adapter}")
async def get_adapter(adapter: str, session: SessionDep, key: AdminKeyDep) -> AdapterOut:
    """One version."""
    return await _show(session, await adapters.get_version(session, _parse(adapter, key)))


@router.get("/adapters/{adapter}/lineage")
async def get_lineage(
    adapter: str, session: SessionDep, key: AdminKeyDep, after: str | None = None, limit: int = 100
) -> LineageOut:
    """The turns that a version learned from, and how their rewards have changed since."""
    version = await adapters.get_version(session, _parse(adapter, key))
    return await show_lineage(session, await _show(session, version), version.run_id, after=after, limit=limit)


@router.post("/adapters/{adapter}/promote")
async def promote_adapter(adapter: str, body: PromoteIn, gateway: GatewayDep, key: AdminKeyDep) -> RolloutOut:
    """Make this the stable version: loaded and probed on every engine first. Open episodes stay on their own."""
    name = _parse(adapter, key)
    await moving.promote(gateway.database, gateway.pool, name, by=_by(key), reason=body.reason)
    return await _answer(gateway, name.agent)


@router.post("/agents/{agent}/rollback")
async def roll_back(agent: str, gateway: GatewayDep, key: AdminKeyDep, body: RollBackIn | None = None) -> RolloutOut:
    """Back to the version before, which is still loaded."""
    check_sees(key, agent)
    await moving.roll_back(gateway.database, agent, by=_by(key), reason=body.reason if body else "")
    return await _answer(gateway, agent)


@router.post("/adapters/{adapter}/reject")
async def reject_adapter(
    adapter: str, gateway: GatewayDep, key: AdminKeyDep, body: RejectIn | None = None
) -> AdapterOut:
    """Take a version out of service for ever; the stable one is rolled back first."""
    given = body or RejectIn()
    name = _parse(adapter, key)
    await moving.reject(gateway.database, name, by=_by(key), reason=given.reason, cut=given.open == "cut")
    await gateway.routing.refresh(gateway.database)
    async with gateway.database.transaction() as session:
        return await _show(session, await adapters.get_version(session, name))


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
    stable = (await adapters.names_of(session, [rollout.stable_id]))[rollout.stable_id]
    return RolloutOut(
        agent=agent,
        stable=str(stable),
        canary=None,
        weight=0.0,
        since=rollout.since,
        by=rollout.by,
        reason=rollout.reason,
    )


async def _show(session: AsyncSession, version: AdapterVersion) -> AdapterOut:
    names = await adapters.names_of(session, [row for row in (version.id, version.parent_id) if row])
    name = names[version.id]
    looks = {kind.value: show_evaluation(row) for kind, row in (await evaluations.newest(session, version.id)).items()}
    return AdapterOut(
        adapter=str(name),
        agent=name.agent,
        state=version.state,
        parent=str(names[version.parent_id]) if version.parent_id else None,
        run_id=ids.public(ids.Prefix.RUN, version.run_id) if version.run_id else None,
        path=version.path,
        sha256=version.sha256,
        evidence=(version.evidence or {}) | looks or None,
        changed_share=version.changed_share,
        taught_by_erased=version.taught_by_erased,
        created_at=version.created_at,
    )


def _parse(adapter: str, key: Key) -> AdapterName:
    name = parse_adapter_name(adapter)
    if name is None or not key.sees(name.agent):
        raise NotFoundError(f"There is no adapter {adapter!r}.", code="adapter_not_found")
    return name


def _by(key: Key) -> str:
    return ids.public(ids.Prefix.KEY, key.id)

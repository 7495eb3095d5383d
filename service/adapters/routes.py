"""Versions: list, show, what they learned from, what their agent's suite says of them."""

from typing import Any

from fastapi import APIRouter

from core.domain import ids
from core.domain.errors import ConflictError
from core.rollouts.asking import ask_suite
from core.storage.repositories import adapters, agents, audit
from service.adapters.lineage import show_lineage
from service.adapters.naming import named
from service.adapters.schemas import AdapterOut, Adapters, EvaluationQueued, LineageOut
from service.adapters.showing import show
from service.dependencies import AdminKeyDep, SessionDep, check_sees
from service.errors import ErrorBody
from service.strict_route import StrictRoute

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
    return Adapters(data=[await show(session, row) for row in rows])


@router.get("/adapters/{adapter}")
async def get_adapter(adapter: str, session: SessionDep, key: AdminKeyDep) -> AdapterOut:
    """One version."""
    return await show(session, await adapters.get_version(session, named(adapter, key)))


@router.get("/adapters/{adapter}/lineage")
async def get_lineage(
    adapter: str, session: SessionDep, key: AdminKeyDep, after: str | None = None, limit: int = 100
) -> LineageOut:
    """The turns that a version learned from, and how their rewards have changed since."""
    version = await adapters.get_version(session, named(adapter, key))
    return await show_lineage(session, await show(session, version), version.run_id, after=after, limit=limit)


@router.post("/adapters/{adapter}/suite", status_code=202)
async def run_suite(adapter: str, session: SessionDep, key: AdminKeyDep) -> EvaluationQueued:
    """Ask the version the prompts of its agent's suite. 409 while it is being asked, or where there is no suite."""
    name = named(adapter, key)
    version = await adapters.get_version(session, name)
    agent = await agents.get_agent_by_id(session, version.agent_id)
    if not agent.suite:
        raise ConflictError(f"{name.agent!r} has no suite.", code="no_suite")
    evaluation = await ask_suite(session, agent, version.id)
    if evaluation is None:
        raise ConflictError(f"{name} is being asked already.", code="suite_running")
    await audit.record(session, "suite.run", by=key.public_id, agents=[name.agent], subject=str(name))
    return EvaluationQueued(evaluation_id=ids.public(ids.Prefix.EVALUATION, evaluation.id))

"""POST /admin/agents/{agent}/learn, GET /admin/agents/{agent}/runs, GET /admin/runs/{id}.

The row is the request: the learner looks for it, so that a lost queue loses no run.
"""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import ConflictError, NotFoundError
from core.storage.models import LearnerRun
from core.storage.repositories import adapters, agents, audit, learner
from service.dependencies import AdminKeyDep, SessionDep, check_sees
from service.errors import ErrorBody
from service.runs.schemas import RunOut, RunQueued, Runs
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 403, 404, 409, 422, 503)}

router = APIRouter(prefix="/admin", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.post("/agents/{agent}/learn", status_code=202)
async def learn(agent: str, session: SessionDep, key: AdminKeyDep) -> RunQueued:
    """Start a learner step now. 409 while one is queued or runs."""
    check_sees(key, agent)
    found = await agents.get_agent(session, agent)
    run = await learner.queue_run(session, found.id, requested_by=key.public_id)
    if run is None:
        raise ConflictError(
            f"{agent!r} is learning already: see GET /admin/agents/{agent}/runs.", code="already_learning"
        )
    run_id = ids.public(ids.Prefix.RUN, run.id)
    await audit.record(session, "run.queue", by=key.public_id, agents=[agent], subject=run_id)
    return RunQueued(run_id=run_id)


@router.get("/agents/{agent}/runs")
async def list_runs(
    agent: str, session: SessionDep, key: AdminKeyDep, after: str | None = None, limit: int = 100
) -> Runs:
    """The agent's learner runs, newest first."""
    check_sees(key, agent)
    found = await agents.get_agent(session, agent)
    start = ids.parse(ids.Prefix.RUN, after) if after else None
    most = min(max(limit, 1), 1000)
    rows = await learner.list_runs(session, found.id, after=start, limit=most)
    data = [await _show(session, row, agent) for row in rows]
    return Runs(data=data, next=data[-1].run_id if len(data) == most else None)


@router.get("/runs/{run_id}")
async def get_run(run_id: str, session: SessionDep, key: AdminKeyDep) -> RunOut:
    """One run: state, progress while it runs, figures and adapter when it has ended."""
    own = ids.parse(ids.Prefix.RUN, run_id)
    run = await learner.find_run(session, own) if own else None
    agent = await agents.get_agent_by_id(session, run.agent_id) if run else None
    if run is None or agent is None or not key.sees(agent.name):
        raise NotFoundError(f"There is no run {run_id!r}.", code="run_not_found")
    return await _show(session, run, agent.name)


async def _show(session: AsyncSession, run: LearnerRun, agent: str) -> RunOut:
    names = await adapters.names_of(session, [run.adapter_id]) if run.adapter_id else {}
    return RunOut(
        run_id=ids.public(ids.Prefix.RUN, run.id),
        agent=agent,
        adapter=str(names[run.adapter_id]) if run.adapter_id else None,
        **{name: getattr(run, name) for name in RunOut.model_fields if name not in ("run_id", "agent", "adapter")},
    )

"""POST and GET /admin/agents, GET and PATCH /admin/agents/{agent}, and its rollout."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.errors import InvalidValueError
from core.domain.metrics import Direction, Metric
from core.engine.pool import EnginePool
from core.storage.models import Agent
from core.storage.repositories import agents, audit
from service.agents import service
from service.agents.schemas import AgentChange, AgentIn, AgentOut, Agents, MetricIn
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep, check_sees
from service.errors import ErrorBody
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (401, 403, 404, 409, 413, 422, 503)
}

CLEARABLE = {"system_prompt", "browser_metric", "retention_days"}

router = APIRouter(prefix="/admin/agents", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.post("", status_code=201)
async def create_agent(body: AgentIn, gateway: GatewayDep, key: AdminKeyDep) -> AgentOut:
    """A new agent, served by its base model from now on."""
    check_sees(key, body.name)
    given = _given(body) | {"base_model": body.base_model or _only_base(gateway.pool)}
    async with gateway.database.transaction() as session:
        agent = await service.create(session, body.name, given, _metrics(body) or [], by=key.public_id)
        await audit.record(session, "agent.create", by=key.public_id, agents=[agent.name], subject=agent.name)
        made = await show(session, agent)
    await gateway.routing.refresh(gateway.database)  # this process serves it before it answers, the others in a moment
    return made


@router.get("")
async def list_agents(session: SessionDep, key: AdminKeyDep) -> Agents:
    """The agents that this key may see."""
    rows = [agent for agent in await agents.list_agents(session) if key.sees(agent.name)]
    return Agents(data=[await show(session, agent) for agent in rows])


@router.get("/{agent}")
async def get_agent(agent: str, session: SessionDep, key: AdminKeyDep) -> AgentOut:
    """One agent."""
    check_sees(key, agent)
    return await show(session, await agents.get_agent(session, agent))


@router.patch("/{agent}")
async def change_agent(agent: str, body: AgentChange, gateway: GatewayDep, key: AdminKeyDep) -> AgentOut:
    """Change what the body names; every gateway follows at once."""
    check_sees(key, agent)
    async with gateway.database.transaction() as session:
        changed = await show(session, await service.change(session, agent, _given(body), _metrics(body)))
        fields = sorted(body.model_fields_set)
        await audit.record(session, "agent.change", by=key.public_id, agents=[agent], subject=agent, fields=fields)
    await gateway.routing.refresh(gateway.database)
    return changed


async def show(session: AsyncSession, agent: Agent) -> AgentOut:
    metrics = await agents.list_metrics(session, agent.id)
    shown = [MetricIn.model_validate(metric, from_attributes=True) for metric in metrics]
    fields = {name: getattr(agent, name) for name in AgentOut.model_fields if name != "metrics"}
    return AgentOut(metrics=shown, **fields)


def _given(body: AgentChange) -> dict[str, Any]:
    """The columns that the body names; null clears what may be missing and means 'not named' elsewhere."""
    given = body.model_dump(exclude={"name", "metrics"}, exclude_unset=True)
    given |= {name: getattr(body, name).model_dump() for name in ("sampling", "schedule", "gates") if given.get(name)}
    if body.limits is not None:
        given["limits"] = body.limits.limits().to_json()
    if given.get("sampling"):
        given["sampling"] = {name: value for name, value in given["sampling"].items() if value is not None}
    return {name: value for name, value in given.items() if value is not None or name in CLEARABLE}


def _metrics(body: AgentChange) -> list[Metric] | None:
    return None if body.metrics is None else [_metric(metric) for metric in body.metrics]


def _metric(given: MetricIn) -> Metric:
    """The metric; where it does not say which way is good, its weight does."""
    direction = given.direction or (Direction.LOWER if given.weight < 0 else Direction.HIGHER)
    return Metric(**given.model_dump() | {"direction": direction})


def _only_base(pool: EnginePool) -> str:
    served = {engine.models.base for engine in pool.healthy if engine.models}
    if len(served) != 1:
        raise InvalidValueError(
            f"Say which base_model: the engines serve {', '.join(sorted(served)) or 'none now'}.", param="base_model"
        )
    return served.pop()

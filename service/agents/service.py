"""Create and change agents. A new agent starts on its base model: version 0, stable at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.adapters import BASE_NUMBER, AdapterState
from core.domain.erasure import ErasurePolicy
from core.domain.errors import ConflictError
from core.domain.gates import Gates, Promotion, measures_of
from core.domain.ids import new_id
from core.domain.metrics import Metric, check_browser_metric, check_metric
from core.rollouts.asking import ask_suite
from core.storage.models import AdapterVersion, Agent, Rollout
from core.storage.repositories import adapters, agents, rollouts

DEFAULTS: dict[str, Any] = {
    "system_prompt": None,
    "sampling": {"temperature": 1.0, "top_p": 1.0},
    "discount": 0.95,
    "max_turns": 50,
    "idle_seconds": 3600.0,
    "schedule": {"enabled": True, "min_conversations": 24, "min_seconds": 900.0},
    "learner": {},
    "gates": {},
    "browser_metric": None,
    "erasure": ErasurePolicy.KEEP,
    "retention_days": None,
    "limits": {},
    "suite": [],
}


async def create(
    session: AsyncSession, name: str, given: Mapping[str, Any], metrics: Sequence[Metric], *, by: str
) -> Agent:
    """A new agent with its base version in service. Raises ConflictError when the name is taken."""
    agent = Agent(id=new_id(), name=name, **(DEFAULTS | dict(given)))
    session.add(agent)
    try:
        await session.flush()
    except IntegrityError as error:
        raise ConflictError(f"There is an agent {name!r} already.", code="agent_exists", param="name") from error
    await agents.declare_metrics(session, agent, _checked(metrics))
    await _check(session, agent)
    base = await adapters.add_version(
        session, AdapterVersion(id=new_id(), agent_id=agent.id, number=BASE_NUMBER, state=AdapterState.STABLE)
    )
    session.add(Rollout(agent_id=agent.id, stable_id=base.id, by=by, reason="the agent was created"))
    await session.flush()
    await rollouts.announce(session)
    await session.refresh(agent)
    return agent


async def change(session: AsyncSession, name: str, given: Mapping[str, Any], metrics: Sequence[Metric] | None) -> Agent:
    """Change what is given. The base model never changes: the agent's versions belong to it."""
    agent = await agents.lock_agent(session, name)
    if given.get("base_model", agent.base_model) != agent.base_model:
        raise ConflictError(
            f"{name!r} was trained on {agent.base_model!r}; make a new agent for another base model.",
            code="base_model_is_fixed",
            param="base_model",
        )
    for field, value in given.items():
        setattr(agent, field, value)
    if metrics is not None:
        await agents.declare_metrics(session, agent, _checked(metrics))
    await _check(session, agent)
    agent.updated_at = func.now()
    await session.flush()
    if not {"suite", "system_prompt"}.isdisjoint(given):
        for version in await adapters.list_on_their_way(session, agent.id):
            await ask_suite(session, agent, version.id)
    await rollouts.announce(session)
    await session.refresh(agent)
    return agent


async def _check(session: AsyncSession, agent: Agent) -> None:
    """After every change: new metrics may take away or open up what browsers say and what trials look at."""
    declared = await agents.list_metrics(session, agent.id)
    if agent.browser_metric is not None:
        check_browser_metric(declared, agent.browser_metric)
    gates = Gates.from_json(agent.gates)
    if gates.promotion is not Promotion.MANUAL or gates.margins:
        measures_of(gates, declared)


def _checked(metrics: Sequence[Metric]) -> Sequence[Metric]:
    for metric in metrics:
        check_metric(metric)
    return metrics

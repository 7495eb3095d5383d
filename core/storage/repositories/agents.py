"""Agents and their metrics."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import rewards
from core.domain.errors import NotFoundError
from core.storage.models import Agent, Metric


async def find_agent(session: AsyncSession, name: str) -> Agent | None:
    agent: Agent | None = await session.scalar(select(Agent).where(Agent.name == name))
    return agent


async def get_agent(session: AsyncSession, name: str) -> Agent:
    agent = await find_agent(session, name)
    if agent is None:
        raise NotFoundError(f"There is no agent {name!r}.", code="agent_not_found")
    return agent


async def get_agent_by_id(session: AsyncSession, agent_id: UUID) -> Agent:
    return await session.get_one(Agent, agent_id)


async def lock_agent(session: AsyncSession, name: str) -> Agent:
    agent: Agent | None = await session.scalar(select(Agent).where(Agent.name == name).with_for_update(key_share=True))
    if agent is None:
        raise NotFoundError(f"There is no agent {name!r}.", code="agent_not_found")
    return agent


async def list_agents(session: AsyncSession) -> Sequence[Agent]:
    return (await session.scalars(select(Agent).order_by(Agent.name))).all()


async def list_metrics(session: AsyncSession, agent_id: UUID) -> list[rewards.Metric]:
    """The agent's declared metrics, each in its newest version."""
    newest = (
        select(Metric)
        .where(Metric.agent_id == agent_id)
        .ext(distinct_on(Metric.name))
        .order_by(Metric.name, Metric.version.desc())
    )
    rows = (await session.scalars(newest)).all()
    return [
        rewards.Metric(row.name, row.kind, row.weight, row.combine, row.required, row.low, row.high)
        for row in rows
        if not row.dropped
    ]


async def declare_metrics(session: AsyncSession, agent_id: UUID, declared: Sequence[rewards.Metric]) -> None:
    """Make these the agent's metrics: what changed gets a new version, what is missing is dropped."""
    current = {metric.name: metric for metric in await list_metrics(session, agent_id)}
    wanted = {metric.name: metric for metric in declared}
    for metric in wanted.values():
        if current.get(metric.name) != metric:
            await _add_version(session, agent_id, metric, dropped=False)
    for name in current.keys() - wanted.keys():
        await _add_version(session, agent_id, current[name], dropped=True)


async def _add_version(session: AsyncSession, agent_id: UUID, metric: rewards.Metric, *, dropped: bool) -> None:
    newest = await session.scalar(
        select(func.max(Metric.version)).where(Metric.agent_id == agent_id, Metric.name == metric.name)
    )
    session.add(
        Metric(
            agent_id=agent_id,
            name=metric.name,
            version=(newest or 0) + 1,
            kind=metric.kind,
            weight=metric.weight,
            combine=metric.combine,
            required=metric.required,
            low=metric.low,
            high=metric.high,
            dropped=dropped,
        )
    )
    await session.flush()

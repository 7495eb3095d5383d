"""Agents and their metrics."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import metrics
from core.domain.errors import ConflictError, NotFoundError
from core.storage.models import Agent, Metric
from core.storage.repositories.arrays import is_among_given


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


async def lock_agents(session: AsyncSession, agent_ids: Collection[UUID]) -> dict[UUID, Agent]:
    """The rows by id, locked one after the other in the order of their ids; inserts that point to them go on."""
    statement = select(Agent).where(Agent.id.in_(agent_ids)).order_by(Agent.id).with_for_update(key_share=True)
    return {row.id: row for row in await session.scalars(statement.execution_options(populate_existing=True))}


NAMES = select(Agent.id, Agent.name)


async def list_names(session: AsyncSession) -> dict[UUID, str]:
    """Every agent's name, without what else stands in its row."""
    return {row.id: row.name for row in await session.execute(NAMES)}


async def list_agents(session: AsyncSession) -> Sequence[Agent]:
    return (await session.scalars(select(Agent).order_by(Agent.name))).all()


async def list_forgetful(session: AsyncSession) -> Sequence[UUID]:
    """The agents that do not keep their conversations for ever."""
    return (await session.scalars(select(Agent.id).where(Agent.retention_days.is_not(None)).order_by(Agent.id))).all()


DECLARED = (
    select(Agent.id, Agent.reward_version, Metric)
    .join(Metric, Metric.agent_id == Agent.id, isouter=True)
    .where(is_among_given(Agent.id, "agent_ids"))
    .ext(distinct_on(Agent.id, Metric.name))
    .order_by(Agent.id, Metric.name, Metric.version.desc())
)


async def list_declared(
    session: AsyncSession, agent_ids: Collection[UUID]
) -> dict[UUID, tuple[int, list[metrics.Metric]]]:
    """Of each agent its reward version and its metrics in their newest versions, both as of one moment."""
    found: dict[UUID, tuple[int, list[metrics.Metric]]] = {}
    for agent, version, row in await session.execute(DECLARED, {"agent_ids": list(agent_ids)}):
        _, declared = found.setdefault(agent, (version, []))
        if row is not None and not row.dropped:
            declared.append(_as_metric(row))
    return found


async def list_metrics(session: AsyncSession, agent_id: UUID) -> list[metrics.Metric]:
    """The agent's declared metrics, each in its newest version."""
    return [_as_metric(row) for row in await _newest(session, agent_id) if not row.dropped]


async def declare_metrics(session: AsyncSession, agent: Agent, declared: Sequence[metrics.Metric]) -> None:
    """Make these the agent's metrics: what changed gets a new version, what is missing is dropped.

    Rewards follow from the metrics of today, so a change starts a new reward version and conversations are settled
    again by it. Raises ConflictError for a metric that was of another kind before: its entries would mean nothing.
    """
    newest = {row.name: row for row in await _newest(session, agent.id)}
    wanted = {metric.name: metric for metric in declared}
    changed = False
    for metric in wanted.values():
        row = newest.get(metric.name)
        if row is not None and row.kind is not metric.kind:
            raise ConflictError(
                f"Metric {metric.name!r} is {row.kind.value} and cannot become {metric.kind.value}: name a new one.",
                code="metric_kind_is_fixed",
                param="metrics",
            )
        if row is None or row.dropped or _as_metric(row) != metric:
            _add_version(session, agent, metric, row, dropped=False)
            changed = True
    for name, row in newest.items():
        if name not in wanted and not row.dropped:
            _add_version(session, agent, _as_metric(row), row, dropped=True)
            changed = True
    if changed:
        agent.reward_version += 1
    await session.flush()


async def _newest(session: AsyncSession, agent_id: UUID) -> Sequence[Metric]:
    statement = (
        select(Metric)
        .where(Metric.agent_id == agent_id)
        .ext(distinct_on(Metric.name))
        .order_by(Metric.name, Metric.version.desc())
    )
    return (await session.scalars(statement)).all()


def _as_metric(row: Metric) -> metrics.Metric:
    return metrics.Metric(**{field.name: getattr(row, field.name) for field in fields(metrics.Metric)})


def _add_version(
    session: AsyncSession, agent: Agent, metric: metrics.Metric, before: Metric | None, *, dropped: bool
) -> None:
    version = 1 if before is None else before.version + 1
    session.add(Metric(agent_id=agent.id, version=version, dropped=dropped, **asdict(metric)))

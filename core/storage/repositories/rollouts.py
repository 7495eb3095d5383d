"""The rollout row and its history."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from core.domain.adapters import AdapterName
from core.storage.models import AdapterVersion, Agent, Canary, Rollout, RolloutEvent

MOVED_CHANNEL = "nock_rollouts"
"""Postgres channel on which a moved pointer, or a changed agent, reaches every gateway."""

MARKS = """
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT concat(agents.id, ' ', agents.xmin, ' ', rollouts.xmin, ' ', canaries.xmin)
    FROM agents JOIN rollouts ON rollouts.agent_id = agents.id LEFT JOIN canaries ON canaries.id = rollouts.canary_id
    UNION ALL
    SELECT concat(engine_url, ' ', adapter_id) FROM engine_residency WHERE seen_at IS NOT NULL
) AS lines(line)
"""
"""Another answer where `list_routes` or `residency.list_proved` may have one: an updated row has another xmin."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a gateway needs to serve an agent: its settings and the version that new episodes get."""

    agent: Agent
    stable_id: UUID
    stable: AdapterName
    generation: int
    canary_id: UUID | None = None
    """The trial that runs."""
    tried_id: UUID | None = None
    tried: AdapterName | None = None
    """The version that is on trial."""
    weight: float = 0.0
    previous_id: UUID | None = None
    previous: AdapterName | None = None
    holdout: float = 0.0
    """Share of new conversations that stay with the version before."""


async def get_rollout(session: AsyncSession, agent_id: UUID) -> Rollout:
    return await session.get_one(Rollout, agent_id, populate_existing=True)


async def lock_rollout(session: AsyncSession, agent_id: UUID) -> Rollout:
    """The row, locked: whoever moves or rejects takes it before any version's lock, so nobody waits in a ring."""
    return await session.get_one(Rollout, agent_id, populate_existing=True, with_for_update=True)


async def list_routes(session: AsyncSession) -> Sequence[Route]:
    stable, tried, previous = (aliased(AdapterVersion) for _ in range(3))
    statement = (
        select(Agent, Rollout, stable.number, tried.id, tried.number, previous.number)
        .join(Rollout, Rollout.agent_id == Agent.id)
        .join(stable, stable.id == Rollout.stable_id)
        .join(Canary, Canary.id == Rollout.canary_id, isouter=True)
        .join(tried, tried.id == Canary.adapter_id, isouter=True)
        .join(previous, previous.id == Rollout.previous_id, isouter=True)
    )
    return [
        Route(
            agent,
            rollout.stable_id,
            AdapterName(agent.name, number),
            rollout.generation,
            rollout.canary_id,
            tried_id,
            None if tried_number is None else AdapterName(agent.name, tried_number),
            rollout.weight,
            rollout.previous_id,
            None if previous_number is None else AdapterName(agent.name, previous_number),
            agent.gates.get("holdout", 0.0),
        )
        for agent, rollout, number, tried_id, tried_number, previous_number in await session.execute(statement)
    ]


async def move(
    session: AsyncSession, rollout: Rollout, *, stable_id: UUID, previous_id: UUID | None, by: str, reason: str
) -> bool:
    """Move the pointer if nobody moved it since `rollout` was read; tell every gateway at commit."""
    moved = await session.execute(
        update(Rollout)
        .where(Rollout.agent_id == rollout.agent_id, Rollout.generation == rollout.generation)
        .values(
            stable_id=stable_id,
            previous_id=previous_id,
            canary_id=None,
            weight=0.0,
            generation=rollout.generation + 1,
            by=by,
            reason=reason,
            since=func.now(),
        )
        .execution_options(synchronize_session=False)
    )
    await announce(session)
    return bool(moved.rowcount)  # type: ignore[attr-defined]  # a cursor result, which async sessions type too widely


async def announce(session: AsyncSession) -> None:
    """Wake the gateways' routing tables when this transaction commits."""
    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": MOVED_CHANNEL})


async def add_event(session: AsyncSession, event: RolloutEvent) -> None:
    session.add(event)
    await session.flush()


async def list_events(session: AsyncSession, agent_id: UUID) -> Sequence[RolloutEvent]:
    """Every move of the agent's pointer, oldest first."""
    statement = select(RolloutEvent).where(RolloutEvent.agent_id == agent_id).order_by(RolloutEvent.generation)
    return (await session.scalars(statement.order_by(RolloutEvent.id))).all()


async def was_stable(session: AsyncSession, agent_id: UUID, version_id: UUID) -> bool:
    """Whether the version has ever been what everybody met."""
    statement = select(RolloutEvent.id).where(
        RolloutEvent.agent_id == agent_id,
        RolloutEvent.to_id == version_id,
        RolloutEvent.kind.in_(["promote", "rollback", "erasure"]),
    )
    return (await session.scalar(statement.limit(1))) is not None


async def list_before(session: AsyncSession, agent_id: UUID, stable_id: UUID) -> Sequence[UUID | None]:
    """What each promotion took out of service, up to the last one of `stable_id`; newest first, some of them twice."""
    is_promotion = (RolloutEvent.agent_id == agent_id, RolloutEvent.kind == "promote")
    of_it = select(RolloutEvent.id).where(*is_promotion, RolloutEvent.to_id == stable_id)
    last = of_it.order_by(RolloutEvent.id.desc()).limit(1).scalar_subquery()
    statement = select(RolloutEvent.from_id).where(*is_promotion, RolloutEvent.id <= last)
    return (await session.scalars(statement.order_by(RolloutEvent.id.desc()))).all()

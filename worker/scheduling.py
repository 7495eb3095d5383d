"""When agents learn and versions are weighed: which rows are due, by hand or by schedule; knows no queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.canaries import EvaluationKind
from core.storage.database import Database
from core.storage.models import Agent
from core.storage.models.base import Json
from core.storage.repositories import agents, clock, evaluations, learner, rewards
from core.storage.repositories.conversations import count_matured_since

log = structlog.get_logger()

BY_SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Schedule:
    """When an agent learns by itself: after so many new outcomes, and not sooner than so long after the last run."""

    enabled: bool
    min_conversations: int
    min_seconds: float

    @classmethod
    def from_json(cls, values: Json) -> "Schedule":
        """Raises ValueError or TypeError for values that are none."""
        return cls(
            enabled=bool(values.get("enabled", True)),
            min_conversations=max(1, int(values.get("min_conversations", 24))),
            min_seconds=float(values.get("min_seconds", 900.0)),
        )


async def list_due_runs(database: Database) -> Sequence[UUID]:
    """Queue a run for each agent whose schedule says so; then every run that somebody should do."""
    async with database.transaction() as session:
        for agent in await agents.list_agents(session):
            await _queue_if_due(session, agent)
    async with database.transaction() as session:
        return await learner.list_unheld(session)


async def list_due_evaluations(database: Database) -> Sequence[UUID]:
    """The evaluations that somebody should do, oldest first; none while a run waits, which comes before them."""
    async with database.transaction() as session:
        if await learner.list_unheld(session):
            return []
        return await evaluations.list_unheld(session, EvaluationKind.OFFLINE)


async def _queue_if_due(session: AsyncSession, agent: Agent) -> None:
    try:
        schedule = Schedule.from_json(agent.schedule)
    except (TypeError, ValueError) as error:
        log.error("schedule makes no sense: this agent learns only by hand", agent=agent.name, why=str(error))
        return
    if schedule.enabled and await _is_due(session, agent, schedule):
        run = await learner.queue_run(session, agent.id, requested_by=BY_SCHEDULE)
        if run is not None:
            log.info("learner run queued", agent=agent.name, run=run.id.hex)


async def _is_due(session: AsyncSession, agent: Agent, schedule: Schedule) -> bool:
    newest = await learner.newest_run(session, agent.id)
    if newest is not None and newest.ended_at is None:
        return False
    rested_since = agent.created_at if newest is None else newest.ended_at
    if not _has_passed(rested_since, schedule.min_seconds, await clock.now(session)):
        return False
    # A run in which only the critic learned counts too: the same outcomes again would have it learn them by heart.
    learned = await learner.newest_learned(session, agent.id)
    fresh = await count_matured_since(session, agent.id, None if learned is None else learned.watermark)
    shown = await rewards.count_demonstrations_since(session, agent.id, None if learned is None else learned.started_at)
    return fresh + shown >= schedule.min_conversations


def _has_passed(since: datetime | None, seconds: float, now: datetime) -> bool:
    return since is None or since + timedelta(seconds=seconds) <= now

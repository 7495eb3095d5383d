"""What waits to be done, and for how long: read for whoever watches, never to decide anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MOST_COUNTED = 10_000
"""More than that of one kind is told as that many: a count must not read a table."""

WAITING = f"""
SELECT 'outcome', count(*), min(since) FROM (
    SELECT due_at AS since FROM conversations WHERE due_at <= now() ORDER BY due_at LIMIT {MOST_COUNTED}) AS queue
UNION ALL SELECT 'dead_letter', count(*), min(since) FROM (
    SELECT received_at AS since FROM dead_letters ORDER BY id LIMIT {MOST_COUNTED}) AS queue
UNION ALL SELECT 'webhook', count(*), min(since) FROM (
    SELECT created_at AS since FROM outbox WHERE ended_at IS NULL LIMIT {MOST_COUNTED}) AS queue
UNION ALL SELECT 'evaluation', count(*), min(since) FROM (
    SELECT created_at AS since FROM evaluations WHERE state = 'queued' LIMIT {MOST_COUNTED}) AS queue
UNION ALL SELECT 'run', count(*), min(since) FROM (
    SELECT created_at AS since FROM learner_runs WHERE state = 'queued' LIMIT {MOST_COUNTED}) AS queue
"""

RUNNING = """
SELECT agents.name, extract(epoch FROM now() - coalesce(run.started_at, run.created_at))::float8,
       greatest(extract(epoch FROM now() - run.lease_until), 0)::float8
FROM learner_runs AS run JOIN agents ON agents.id = run.agent_id WHERE run.state = 'running'
"""

TRIALS = """
SELECT agents.name, canaries.state, count(*), extract(epoch FROM max(ended_at))::float8
FROM canaries JOIN agents ON agents.id = canaries.agent_id
GROUP BY agents.name, canaries.state
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    kind: str
    count: int
    seconds: float
    """How long the one that waits longest has waited; 0 where none does."""


@dataclass(frozen=True, slots=True)
class Running:
    """A learner run, and for how long nobody has renewed its lapsed lease; 0 while its worker lives."""

    agent: str
    seconds: float
    lapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Trials:
    """An agent's trials that have come to one state, and when the last of them ended, in Unix seconds."""

    agent: str
    state: str
    count: int
    last_ended: float | None


async def list_waiting(session: AsyncSession) -> Sequence[Waiting]:
    statement = f"SELECT kind, count, coalesce(extract(epoch FROM now() - since), 0)::float8 FROM ({WAITING}) \
AS waiting(kind, count, since)"
    return [Waiting(*row) for row in await _rows(session, statement)]


async def list_running(session: AsyncSession) -> Sequence[Running]:
    return [Running(agent, seconds, lapsed or 0.0) for agent, seconds, lapsed in await _rows(session, RUNNING)]


async def list_trials(session: AsyncSession) -> Sequence[Trials]:
    return [Trials(*row) for row in await _rows(session, TRIALS)]


async def _rows(session: AsyncSession, statement: str) -> Sequence[Any]:
    return (await session.execute(text(statement))).all()

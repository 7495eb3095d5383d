"""Ask for looks at a version: rows that the workers find, written with the version itself."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.canaries import EvaluationKind
from core.storage.models import Agent, Evaluation
from core.storage.repositories import evaluations


async def ask_for_all(session: AsyncSession, agent: Agent, adapter_id: UUID) -> None:
    """All that a new candidate needs before anybody may meet it."""
    await evaluations.queue(session, agent.id, adapter_id, EvaluationKind.OFFLINE)
    await ask_suite(session, agent, adapter_id)


async def ask_suite(session: AsyncSession, agent: Agent, adapter_id: UUID) -> Evaluation | None:
    """None where the agent has no suite, or while the version is being asked."""
    if not agent.suite:
        return None
    return await evaluations.queue(session, agent.id, adapter_id, EvaluationKind.SUITE)

"""Have a version asked its agent's suite: the row that the worker looks for, written with the version itself."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.canaries import EvaluationKind
from core.storage.models import Agent, Evaluation
from core.storage.repositories import evaluations


async def queue_suite(session: AsyncSession, agent: Agent, adapter_id: UUID) -> Evaluation | None:
    """None where the agent has no suite, or while the version is being asked."""
    if not agent.suite:
        return None
    return await evaluations.queue(session, agent.id, adapter_id, EvaluationKind.SUITE)

"""Trials of versions, and the units that decide them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from core.domain.canaries import CanaryState
from core.domain.episodes import Arm
from core.storage.models import Canary, CanaryUnit, Conversation, Episode


@dataclass(frozen=True, slots=True)
class Entering:
    """A conversation whose time has come, and what its episode says of the trial."""

    conversation: Conversation
    arm: Arm
    weight: float
    """The canary's share when it began."""
    started_at: datetime
    episode_id: UUID


async def find_canary(session: AsyncSession, canary_id: UUID | None) -> Canary | None:
    return None if canary_id is None else await session.get(Canary, canary_id, populate_existing=True)


async def lock_canary(session: AsyncSession, canary_id: UUID) -> Canary:
    """The row, for who writes to it; new episodes may point to it meanwhile."""
    return await session.get_one(Canary, canary_id, populate_existing=True, with_for_update={"key_share": True})


async def list_running(session: AsyncSession) -> Sequence[Canary]:
    statement = select(Canary).where(Canary.state == CanaryState.RUNNING).order_by(Canary.id)
    return (await session.scalars(statement)).all()


async def newest_of(session: AsyncSession, adapter_id: UUID) -> Canary | None:
    """The newest trial of a version."""
    statement = select(Canary).where(Canary.adapter_id == adapter_id).order_by(Canary.id.desc()).limit(1)
    found: Canary | None = await session.scalar(statement)
    return found


async def list_of_agent(session: AsyncSession, agent_id: UUID, *, limit: int) -> Sequence[Canary]:
    """Newest first."""
    statement = select(Canary).where(Canary.agent_id == agent_id).order_by(Canary.id.desc()).limit(limit)
    return (await session.scalars(statement)).all()


async def list_entering(session: AsyncSession, canary: Canary, *, before: datetime, limit: int) -> Sequence[Entering]:
    """Conversations of the trial that began after those that have entered, and before `before`, in their order.

    Only those that it saw from their first turn, and of each end user only the first: one user is one unit. Where
    somebody pinned a version the conversation counts in no experiment.
    """
    earlier_episode, earlier = aliased(Episode), aliased(Conversation)
    pinned = aliased(Episode)
    was_pinned = select(pinned.id).where(pinned.conversation_id == Conversation.id, pinned.arm == Arm.PINNED)
    was_here = (
        select(earlier_episode.id)
        .join(earlier, earlier.id == earlier_episode.conversation_id)
        .where(
            earlier.end_user == Conversation.end_user,
            earlier.agent_id == Conversation.agent_id,
            earlier_episode.canary_id == canary.id,
            tuple_(earlier_episode.started_at, earlier_episode.id) < tuple_(Episode.started_at, Episode.id),
        )
    )
    statement = (
        select(Conversation, Episode.arm, Episode.propensity, Episode.started_at, Episode.id)
        .join(Episode, Episode.conversation_id == Conversation.id)
        .where(
            Episode.canary_id == canary.id,
            Episode.ordinal == 0,
            Episode.started_at < before,
            ~was_here.exists(),
            ~was_pinned.exists(),
        )
        .order_by(Episode.started_at, Episode.id)
        .limit(limit)
    )
    if canary.entered_until is not None:
        after = (canary.entered_until, canary.entered_id)
        statement = statement.where(tuple_(Episode.started_at, Episode.id) > after)
    return [
        Entering(conversation, arm, weight_of(arm, propensity), started_at, episode_id)
        for conversation, arm, propensity, started_at, episode_id in await session.execute(statement)
    ]


def weight_of(arm: Arm, propensity: float) -> float:
    """The canary's share that an arm's propensity tells of: the same number in both arms, which 1 - (1 - w) is not."""
    return round(propensity if arm is Arm.CANARY else 1.0 - propensity, 9)


async def add_units(session: AsyncSession, units: Sequence[CanaryUnit]) -> None:
    session.add_all(units)
    await session.flush()


async def count_units(session: AsyncSession, canary_id: UUID) -> int:
    return (await session.scalar(select(func.count()).where(CanaryUnit.canary_id == canary_id))) or 0


async def list_units(session: AsyncSession, canary_id: UUID) -> Sequence[CanaryUnit]:
    """In the order in which they entered."""
    statement = select(CanaryUnit).where(CanaryUnit.canary_id == canary_id).order_by(CanaryUnit.ordinal)
    return (await session.scalars(statement)).all()

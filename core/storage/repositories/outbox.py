"""Messages to the webhook: which are due, and what became of each."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import OutboxMessage

LONGEST_WHY = 500


async def list_due(session: AsyncSession, *, limit: int) -> Sequence[OutboxMessage]:
    """Those whose time has come, the oldest first."""
    statement = (
        select(OutboxMessage)
        .where(OutboxMessage.ended_at.is_(None), OutboxMessage.next_attempt_at <= func.clock_timestamp())
        .order_by(OutboxMessage.next_attempt_at, OutboxMessage.id)
        .limit(limit)
    )
    return (await session.scalars(statement)).all()


async def mark_delivered(session: AsyncSession, message_id: UUID) -> None:
    now = func.clock_timestamp()
    await _update(session, message_id, delivered_at=now, ended_at=now, last_error=None)


async def give_up(session: AsyncSession, message_id: UUID, why: str) -> None:
    await _update(session, message_id, ended_at=func.clock_timestamp(), last_error=why[:LONGEST_WHY])


async def try_later(session: AsyncSession, message_id: UUID, why: str, wait: timedelta) -> None:
    await _update(session, message_id, next_attempt_at=func.clock_timestamp() + wait, last_error=why[:LONGEST_WHY])


async def end_all(session: AsyncSession, *, why: str) -> None:
    """End what waits without having been told."""
    await session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.ended_at.is_(None))
        .values(ended_at=func.clock_timestamp(), last_error=why)
    )


async def forget_old(session: AsyncSession, age: timedelta) -> None:
    """Delete what ended so long ago."""
    await session.execute(delete(OutboxMessage).where(OutboxMessage.ended_at < func.now() - age))


async def _update(session: AsyncSession, message_id: UUID, **values: object) -> None:
    await session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.id == message_id)
        .values(attempts=OutboxMessage.attempts + 1, **values)
        .execution_options(synchronize_session=False)
    )

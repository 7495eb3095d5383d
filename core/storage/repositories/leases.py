"""Leases that nobody renews any more; taking one stands with the learner's."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from core.storage.models import Lease


async def list_lapsed(session: AsyncSession, prefix: str) -> Sequence[str]:
    """The names of the leases that begin so and whose time has passed."""
    statement = select(Lease.name).where(
        Lease.name.startswith(prefix, autoescape=True), Lease.until < func.clock_timestamp()
    )
    return (await session.scalars(statement.order_by(Lease.name))).all()


async def drop(session: AsyncSession, name: str, *, holder: UUID) -> None:
    """Forget a lease for a job that is never done again."""
    await session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))

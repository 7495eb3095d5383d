"""Postgres' clock: the one that processes on several machines agree on."""

from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

INSTANT = select(func.clock_timestamp())


async def now(session: AsyncSession) -> datetime:
    """When this transaction began."""
    return (await session.scalars(select(func.now()))).one()


async def instant(session: AsyncSession) -> datetime:
    """This moment, however long the transaction has waited for locks."""
    moment: datetime = (await session.scalars(INSTANT)).one()
    return moment


async def settled_until(session: AsyncSession) -> datetime:
    """The latest moment before which nothing can come to light any more.

    Rows say when their transaction began, and are seen once it ends: every transaction that began before this moment
    has ended.
    """
    oldest = text(
        "SELECT least(now(), min(xact_start)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    moment: datetime = (await session.execute(oldest)).scalar_one()
    return moment

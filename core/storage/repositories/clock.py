"""Postgres' clock: the one that processes on several machines agree on."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def now(session: AsyncSession) -> datetime:
    """When this transaction began."""
    return (await session.scalars(select(func.now()))).one()


async def instant(session: AsyncSession) -> datetime:
    """This moment, however long the transaction has waited for locks."""
    moment: datetime = (await session.scalars(select(func.clock_timestamp()))).one()
    return moment

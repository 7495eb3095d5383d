"""API keys."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.keys import Key, Scope
from core.storage.models import ApiKey

REVOKED_CHANNEL = "nock_keys"
"""Postgres channel on which a revocation reaches every gateway."""


async def add_key(
    session: AsyncSession,
    *,
    secret_hash: bytes,
    scopes: Iterable[Scope],
    agents: Iterable[str] | None = None,
    name: str | None = None,
    expires_at: datetime | None = None,
) -> ApiKey:
    key = ApiKey(
        secret_hash=secret_hash,
        name=name,
        scopes=sorted(Scope(scope).value for scope in scopes),
        agents=None if agents is None else sorted(agents),
        expires_at=expires_at,
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    return key


async def find_valid_key(session: AsyncSession, secret_hash: bytes) -> Key | None:
    """The key with that hash, unless it is revoked or expired."""
    row: ApiKey | None = await session.scalar(
        select(ApiKey).where(
            ApiKey.secret_hash == secret_hash,
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
        )
    )
    if row is None:
        return None
    agents = None if row.agents is None else frozenset(row.agents)
    return Key(row.id, frozenset(Scope(scope) for scope in row.scopes), agents, row.expires_at)


async def list_keys(session: AsyncSession) -> Sequence[ApiKey]:
    return (await session.scalars(select(ApiKey).order_by(ApiKey.id))).all()


async def revoke_key(session: AsyncSession, key_id: UUID) -> ApiKey | None:
    """Revoke once; a second time changes nothing. None when there is no such key."""
    row: ApiKey | None = await session.scalar(
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
        .returning(ApiKey)
    )
    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": REVOKED_CHANNEL})
    return row

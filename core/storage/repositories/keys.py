"""API keys; what is done to one is noted in the same transaction, by whomever it was done."""

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Text, func, literal, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain.ids import Prefix, public
from core.domain.keys import Key, Scope
from core.domain.limits import UNLIMITED, Limits
from core.storage.models import ApiKey
from core.storage.repositories import audit

REVOKED_CHANNEL = "nock_keys"
"""Postgres channel on which a revoked or changed key reaches every gateway."""


async def add_key(
    session: AsyncSession,
    *,
    by: str,
    secret_hash: bytes,
    scopes: Iterable[Scope],
    agents: Iterable[str] | None = None,
    name: str | None = None,
    expires_at: datetime | None = None,
    limits: Limits = UNLIMITED,
) -> ApiKey:
    key = ApiKey(
        secret_hash=secret_hash,
        name=name,
        scopes=sorted(Scope(scope).value for scope in scopes),
        agents=None if agents is None else sorted(agents),
        expires_at=expires_at,
        limits=limits.to_json(),
    )
    session.add(key)
    await session.flush()
    await session.refresh(key)
    ends = None if expires_at is None else expires_at.isoformat()
    await _record(session, "create", key, by, scopes=key.scopes, limits=key.limits, expires_at=ends)
    return key


async def find_key(session: AsyncSession, secret_hash: bytes) -> Key | None:
    """The key of which that is a secret's hash, unless it is revoked; it may have expired."""
    row: ApiKey | None = await session.scalar(
        select(ApiKey).where(
            or_(ApiKey.secret_hash == secret_hash, ApiKey.old_secret_hash == secret_hash), ApiKey.revoked_at.is_(None)
        )
    )
    if row is None:
        return None
    ends = row.expires_at
    if not hmac.compare_digest(row.secret_hash, secret_hash):
        ends = min(filter(None, (row.expires_at, row.old_valid_until)))
    agents = None if row.agents is None else frozenset(row.agents)
    scopes = frozenset(Scope(scope) for scope in row.scopes)
    return Key(row.id, scopes, agents, ends, Limits.from_json(row.limits))


async def has_any(session: AsyncSession) -> bool:
    """Whether there is a key, be it revoked."""
    return (await session.scalar(select(ApiKey.id).limit(1))) is not None


async def list_keys(
    session: AsyncSession, *, seen: Collection[str] | None, after: UUID | None, limit: int
) -> Sequence[ApiKey]:
    """Oldest first; those of no other agents than `seen` (None: all keys)."""
    statement = select(ApiKey).order_by(ApiKey.id).limit(limit)
    if seen is not None:
        statement = statement.where(ApiKey.agents.bool_op("<@")(literal(sorted(seen), ARRAY(Text))))
    if after is not None:
        statement = statement.where(ApiKey.id > after)
    return (await session.scalars(statement)).all()


async def lock_key(session: AsyncSession, key_id: UUID) -> ApiKey | None:
    return await session.get(ApiKey, key_id, with_for_update=True, populate_existing=True)


async def revoke_key(session: AsyncSession, key: ApiKey, *, by: str) -> None:
    """Revoke once; a second time changes nothing."""
    if key.revoked_at is not None:
        return
    key.revoked_at = func.now()
    await _store(session, key)
    await _record(session, "revoke", key, by)


async def rotate_key(session: AsyncSession, key: ApiKey, secret_hash: bytes, grace: timedelta, *, by: str) -> None:
    """Give it a new secret; the last one is good for the grace still, and the one before no more."""
    key.old_secret_hash, key.secret_hash = key.secret_hash, secret_hash
    key.old_valid_until = func.now() + grace
    await _store(session, key)
    await _record(session, "rotate", key, by, grace_seconds=grace.total_seconds())


async def change_key(session: AsyncSession, key: ApiKey, given: Mapping[str, Any], *, by: str) -> None:
    """Set these columns."""
    for column, value in given.items():
        setattr(key, column, value)
    await _store(session, key)
    await _record(session, "change", key, by, fields=sorted(given))


async def _store(session: AsyncSession, key: ApiKey) -> None:
    """Every gateway forgets what it knew of the key at the commit."""
    await session.flush()
    await session.refresh(key)
    await session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": REVOKED_CHANNEL})


async def _record(session: AsyncSession, act: str, key: ApiKey, by: str, **details: Any) -> None:
    subject = public(Prefix.KEY, key.id)
    await audit.record(session, f"key.{act}", by=by, agents=key.agents, subject=subject, **details)

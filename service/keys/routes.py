"""POST and GET /admin/keys, PATCH and DELETE /admin/keys/{key_id}, and its rotation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from core.domain import ids
from core.domain.errors import ConflictError, NotAllowedError, NotFoundError
from core.domain.keys import Key, hash_secret, new_secret
from core.domain.limits import UNLIMITED
from core.storage.models import ApiKey
from core.storage.repositories import keys
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep
from service.errors import ErrorBody
from service.gateway import Gateway
from service.keys.schemas import KeyChange, KeyIn, KeyOut, Keys, NewKey, RotateIn
from service.strict_route import StrictRoute

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 403, 404, 409, 422, 503)}

router = APIRouter(prefix="/admin/keys", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.post("", status_code=201)
async def create_key(body: KeyIn, session: SessionDep, key: AdminKeyDep) -> NewKey:
    """A new key. This answer is the only one that ever holds its secret."""
    if key.agents is not None and (body.agents is None or not set(body.agents) <= key.agents):
        raise NotAllowedError("This key sees some agents only, and can make keys for those only.")
    secret = new_secret()
    row = await keys.add_key(
        session,
        by=key.public_id,
        secret_hash=hash_secret(secret),
        scopes=body.scopes,
        agents=body.agents,
        name=body.name,
        expires_at=body.expires_at,
        limits=UNLIMITED if body.limits is None else body.limits.limits(),
    )
    return NewKey(secret=secret, **_fields(row))


@router.get("")
async def list_keys(session: SessionDep, key: AdminKeyDep, after: str | None = None, limit: int = 100) -> Keys:
    """The keys that see no agent beyond this one's, oldest first, without their secrets."""
    start = ids.parse(ids.Prefix.KEY, after) if after else None
    most = min(max(limit, 1), 1000)
    rows = await keys.list_keys(session, seen=key.agents, after=start, limit=most)
    data = [KeyOut(**_fields(row)) for row in rows]
    return Keys(data=data, next=data[-1].key_id if len(data) == most else None)


@router.patch("/{key_id}")
async def change_key(key_id: str, body: KeyChange, gateway: GatewayDep, key: AdminKeyDep) -> KeyOut:
    """Change what the body names; every gateway follows at once."""
    given: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if "limits" in given:
        given["limits"] = {} if body.limits is None else body.limits.limits().to_json()
    async with _locked(gateway, key, key_id) as (session, row):
        await keys.change_key(session, row, given, by=key.public_id)
    return KeyOut(**_fields(row))


@router.post("/{key_id}/rotate")
async def rotate_key(key_id: str, gateway: GatewayDep, key: AdminKeyDep, body: RotateIn | None = None) -> NewKey:
    """A new secret for the key. The old one stays good for the grace, so that holders can change over."""
    grace = timedelta(seconds=(body or RotateIn()).grace_seconds)
    secret = new_secret()
    async with _locked(gateway, key, key_id) as (session, row):
        if row.revoked_at is not None:
            raise ConflictError(f"{key_id} is revoked: make a new key.", code="key_revoked")
        await keys.rotate_key(session, row, hash_secret(secret), grace, by=key.public_id)
    return NewKey(secret=secret, **_fields(row))


@router.delete("/{key_id}")
async def revoke_key(key_id: str, gateway: GatewayDep, key: AdminKeyDep) -> KeyOut:
    """Revoke a key everywhere, at once, with every secret that it has."""
    async with _locked(gateway, key, key_id) as (session, row):
        await keys.revoke_key(session, row, by=key.public_id)
    return KeyOut(**_fields(row))


@asynccontextmanager
async def _locked(gateway: Gateway, key: Key, key_id: str) -> AsyncIterator[tuple[AsyncSession, ApiKey]]:
    """The key in a transaction of its own, after which this gateway knows it anew; the others within the notification.

    A key of some agents sees the keys of no others.
    """
    own = ids.parse(ids.Prefix.KEY, key_id)
    async with gateway.database.transaction() as session:
        row = await keys.lock_key(session, own) if own else None
        if row is None or not (key.agents is None or (row.agents is not None and set(row.agents) <= key.agents)):
            raise NotFoundError(f"There is no key {key_id!r}.", code="key_not_found")
        yield session, row
    gateway.keys.forget()


def _fields(row: ApiKey) -> dict[str, Any]:
    return {"key_id": ids.public(ids.Prefix.KEY, row.id)} | {
        name: getattr(row, name) for name in KeyOut.model_fields if name != "key_id"
    }

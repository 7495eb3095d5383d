"""POST, GET and DELETE /admin/keys."""

from typing import Any

from fastapi import APIRouter

from core.domain import ids
from core.domain.errors import NotAllowedError, NotFoundError
from core.domain.keys import Key, hash_secret, new_secret
from core.storage.models import ApiKey
from core.storage.repositories import keys
from service.bodies import StrictRoute
from service.dependencies import AdminKeyDep, GatewayDep, SessionDep
from service.errors import ErrorBody
from service.keys.schemas import KeyIn, KeyOut, Keys, NewKey

ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 403, 404, 422, 503)}

router = APIRouter(prefix="/admin/keys", tags=["admin"], route_class=StrictRoute, responses=ERRORS)


@router.post("", status_code=201)
async def create_key(body: KeyIn, session: SessionDep, key: AdminKeyDep) -> NewKey:
    """A new key. This answer is the only one that ever holds its secret."""
    if key.agents is not None and (body.agents is None or not set(body.agents) <= key.agents):
        raise NotAllowedError("This key sees some agents only, and can make keys for those only.")
    secret = new_secret()
    row = await keys.add_key(
        session,
        secret_hash=hash_secret(secret),
        scopes=body.scopes,
        agents=body.agents,
        name=body.name,
        expires_at=body.expires_at,
    )
    return NewKey(secret=secret, **_fields(row))


@router.get("")
async def list_keys(session: SessionDep, key: AdminKeyDep) -> Keys:
    """The keys whose agents this key may see, without their secrets."""
    return Keys(data=[KeyOut(**_fields(row)) for row in await keys.list_keys(session) if _sees(key, row)])


@router.delete("/{key_id}")
async def revoke_key(key_id: str, gateway: GatewayDep, key: AdminKeyDep) -> KeyOut:
    """Revoke a key everywhere, at once."""
    own = ids.parse(ids.Prefix.KEY, key_id)
    async with gateway.database.transaction() as session:
        known = {row.id: row for row in await keys.list_keys(session) if _sees(key, row)}
        row = await keys.revoke_key(session, own) if own in known else None
    if row is None:
        raise NotFoundError(f"There is no key {key_id!r}.", code="key_not_found")
    gateway.keys.forget()
    return KeyOut(**_fields(row))


def _sees(key: Key, row: ApiKey) -> bool:
    """A key of some agents sees the keys of no others."""
    return key.agents is None or (row.agents is not None and set(row.agents) <= key.agents)


def _fields(row: ApiKey) -> dict[str, Any]:
    return {"key_id": ids.public(ids.Prefix.KEY, row.id)} | {
        name: getattr(row, name) for name in KeyOut.model_fields if name != "key_id"
    }

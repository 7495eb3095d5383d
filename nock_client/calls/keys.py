"""API keys: list, make, change, rotate, revoke."""

from collections.abc import Sequence
from typing import Unpack

from nock_client.call import Call, delete, get, given, part
from nock_client.shapes import Key, KeyFields, Limits, NewKey, Page, Scope


def keys(*, after: str | None = None, limit: int | None = None) -> Call[Page[Key]]:
    """The keys that this one may see, oldest first, without their secrets."""
    return get("/admin/keys", after=after, limit=limit)


def create_key(
    *,
    scopes: Sequence[Scope],
    agents: Sequence[str] | None = None,
    name: str | None = None,
    expires_at: str | None = None,
    limits: Limits | None = None,
) -> Call[NewKey]:
    """A new key; its `secret` is answered this once. Without `agents` it may see all of them."""
    body = given({"scopes": scopes, "agents": agents, "name": name, "expires_at": expires_at, "limits": limits})
    return Call("POST", "/admin/keys", body=body)


def change_key(key_id: str, **fields: Unpack[KeyFields]) -> Call[Key]:
    """Change what is named; the rest stays, None takes away."""
    return Call("PATCH", f"/admin/keys/{part(key_id)}", body=fields, repeatable=True)


def rotate_key(key_id: str, *, grace_seconds: float | None = None) -> Call[NewKey]:
    """A new `secret`, answered this once; the old one stays good for the grace, a day unless you say otherwise."""
    return Call("POST", f"/admin/keys/{part(key_id)}/rotate", body=given({"grace_seconds": grace_seconds}))


def revoke_key(key_id: str) -> Call[Key]:
    """Revoke a key everywhere, at once."""
    return delete(f"/admin/keys/{part(key_id)}")

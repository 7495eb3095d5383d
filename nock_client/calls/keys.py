"""API keys: list, make, revoke."""

from collections.abc import Sequence

from nock_client.call import Call, delete, get, given, part
from nock_client.shapes import Key, NewKey, Page, Scope


def keys() -> Call[Page[Key]]:
    """The keys that this one may see, without their secrets."""
    return get("/admin/keys")


def create_key(
    *,
    scopes: Sequence[Scope],
    agents: Sequence[str] | None = None,
    name: str | None = None,
    expires_at: str | None = None,
) -> Call[NewKey]:
    """A new key; its `secret` is answered this once. Without `agents` it may see all of them."""
    body = given({"scopes": scopes, "agents": agents, "name": name, "expires_at": expires_at})
    return Call("POST", "/admin/keys", body=body)


def revoke_key(key_id: str) -> Call[Key]:
    """Revoke a key everywhere, at once."""
    return delete(f"/admin/keys/{part(key_id)}")

"""API keys as they are shown, the secret only once, and what can be said of one."""

from typing import Literal, TypedDict

from nock_client.shapes.limits import Limits

Scope = Literal["chat", "feedback", "admin"]


class KeyFields(TypedDict, total=False):
    """What can be changed of a key; a field that is left out stays, None takes away."""

    name: str | None
    expires_at: str | None
    limits: Limits | None


class Key(TypedDict):
    """`old_valid_until`: how long the secret before the last rotation is good."""

    key_id: str
    name: str | None
    scopes: list[Scope]
    agents: list[str] | None
    limits: dict[str, int]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    old_valid_until: str | None


class NewKey(Key):
    secret: str

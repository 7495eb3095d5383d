"""API keys as they are shown; the secret only once."""

from typing import Literal, TypedDict

Scope = Literal["chat", "feedback", "admin"]


class Key(TypedDict):
    key_id: str
    name: str | None
    scopes: list[Scope]
    agents: list[str] | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class NewKey(Key):
    secret: str

"""Keys as they are shown; the secret only once."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.domain.keys import Scope
from service.bodies import ShortText


class KeyIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    scopes: Annotated[list[Scope], Field(min_length=1)]
    agents: Annotated[list[ShortText], Field(min_length=1)] | None = None
    name: ShortText | None = None
    expires_at: AwareDatetime | None = None


class KeyOut(BaseModel):
    key_id: str
    name: str | None
    scopes: list[Scope]
    agents: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(KeyOut):
    secret: str


class Keys(BaseModel):
    data: list[KeyOut]
    next: str | None = None

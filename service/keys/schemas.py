"""Keys as they are shown; the secret only once."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.domain.keys import Scope
from service.bodies import ShortText
from service.limits.schemas import LimitsIn

DAY_SECONDS = 86_400.0


class KeyChange(BaseModel):
    """What may change of a key; what is left out stays, null clears."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText | None = None
    expires_at: AwareDatetime | None = None
    limits: LimitsIn | None = None


class KeyIn(KeyChange):
    scopes: Annotated[list[Scope], Field(min_length=1)]
    agents: Annotated[list[ShortText], Field(min_length=1)] | None = None


class RotateIn(BaseModel):
    """How long the secret before this one stays good."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[float, Field(ge=0, le=30 * DAY_SECONDS)] = DAY_SECONDS


class KeyOut(BaseModel):
    """`old_valid_until`: how long the secret before the last rotation is good."""

    key_id: str
    name: str | None
    scopes: list[Scope]
    agents: list[str] | None
    limits: dict[str, int]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    old_valid_until: datetime | None


class NewKey(KeyOut):
    secret: str


class Keys(BaseModel):
    data: list[KeyOut]
    next: str | None = None

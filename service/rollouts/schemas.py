"""The rollout as it is shown and moved."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.domain.canaries import CanaryState
from core.domain.errors import InvalidValueError
from service.bodies import Text

Reason = Annotated[Text, Field(max_length=2000)]


class PromoteIn(BaseModel):
    """Why this version goes into service. `force` passes over missing evidence, never over a failed check or probe."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""
    force: bool = False


class CanaryIn(BaseModel):
    """The share of new conversations that meet this version; 0 stops its trial. `force` as for promotion."""

    model_config = ConfigDict(extra="forbid")

    weight: Annotated[float, Field(ge=0, le=1)]
    reason: Reason = ""
    force: bool = False


def check_reason(force: bool, reason: str) -> None:
    """Raise InvalidValueError for a version that is forced in without saying why."""
    if force and not reason.strip():
        raise InvalidValueError("Who forces says why: give a `reason`.", param="reason")


class RollBackIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""


class RejectIn(BaseModel):
    """`open`: what happens to conversations that this version serves now."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""
    open: Literal["cut", "finish"] = "cut"


class CanaryOut(BaseModel):
    """One trial: `beside` is the version that it is compared with, `gates` what was demanded when it began."""

    adapter: str
    beside: str
    state: CanaryState
    weight: float
    gates: dict[str, Any]
    verdict: str | None
    evidence: dict[str, Any] | None
    by: str
    reason: str
    started_at: datetime
    looked_at: datetime | None
    ended_at: datetime | None


class Canaries(BaseModel):
    data: list[CanaryOut]
    next: str | None = None


class EventOut(BaseModel):
    kind: str
    generation: int
    stable_before: str | None
    adapter: str
    by: str
    reason: str
    evidence: dict[str, Any]
    at: datetime


class Events(BaseModel):
    data: list[EventOut]
    next: str | None = None


class RolloutOut(BaseModel):
    agent: str
    stable: str
    canary: str | None
    weight: float
    since: datetime
    by: str
    reason: str

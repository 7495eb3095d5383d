"""A learner run as it is shown."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from core.storage.models import RunState


class RunQueued(BaseModel):
    run_id: str


class RunOut(BaseModel):
    run_id: str
    agent: str
    state: RunState
    progress: float
    adapter: str | None
    reason: str | None
    figures: dict[str, Any] | None
    configuration: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Runs(BaseModel):
    data: list[RunOut]
    next: str | None

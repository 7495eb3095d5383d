"""Versions as they are shown."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from core.domain.adapters import AdapterState
from core.domain.erasure import ErasurePolicy


class AdapterOut(BaseModel):
    adapter: str
    agent: str
    state: AdapterState
    parent: str | None
    run_id: str | None
    path: str | None
    sha256: str | None
    evidence: dict[str, Any] | None
    changed_share: float | None
    """Of the turns that taught it, those with another reward by now or none; null until somebody has looked."""
    taught_by_erased: ErasurePolicy | None
    created_at: datetime


class Adapters(BaseModel):
    data: list[AdapterOut]
    next: str | None = None


class EvaluationQueued(BaseModel):
    evaluation_id: str
    """Found again under the version's `evidence`."""


class TaughtOut(BaseModel):
    """A turn that a version learned from: its reward then (null: only what was demonstrated at it has taught) and now
    (null: nothing is known any more), and the entries that speak of it or, at the last turn, of its conversation."""

    turn_id: str
    conversation_id: str
    trained_actor: bool
    reward_then: float | None
    reward_now: float | None
    changed: bool
    feedback_ids: list[str]


class LineageOut(BaseModel):
    """What a version learned from. The counts are of all of it, `data` is a page; `erased_turns` are in neither."""

    adapter: str
    parent: str | None
    run_id: str | None
    turns: int
    erased_turns: int
    changed: int
    changed_share: float | None
    data: list[TaughtOut]
    next: str | None

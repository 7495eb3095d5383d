"""Learner runs."""

from typing import Any, Literal, TypedDict


class RunQueued(TypedDict):
    run_id: str


class Run(TypedDict):
    """One learner step; `progress` from 0 to 1, `figures` and `adapter` once it has ended."""

    run_id: str
    agent: str
    state: Literal["queued", "running", "succeeded", "skipped", "failed"]
    progress: float
    adapter: str | None
    reason: str | None
    figures: dict[str, Any] | None
    configuration: dict[str, Any] | None
    created_at: str
    started_at: str | None
    ended_at: str | None

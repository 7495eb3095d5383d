"""Which version is in service, which is on trial, and how it came to that."""

from typing import Any, Literal, TypedDict


class Rollout(TypedDict):
    agent: str
    stable: str
    canary: str | None
    weight: float
    since: str
    by: str
    reason: str


class Canary(TypedDict):
    """One trial: `beside` is the version that it is compared with, `gates` what was demanded when it began."""

    adapter: str
    beside: str
    state: Literal["running", "promoted", "rolled_back", "inconclusive", "stopped"]
    weight: float
    gates: dict[str, Any]
    verdict: str | None
    evidence: dict[str, Any] | None
    by: str
    reason: str
    started_at: str
    looked_at: str | None
    ended_at: str | None


class RolloutEvent(TypedDict):
    """One move: who, why and on what evidence."""

    kind: str
    generation: int
    stable_before: str | None
    adapter: str
    by: str
    reason: str
    evidence: dict[str, Any]
    at: str

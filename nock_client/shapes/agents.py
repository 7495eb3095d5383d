"""Agents: as they are shown, and what can be said of one."""

from typing import Any, Literal, NotRequired, Required, TypedDict

from nock_client.shapes.erasures import Policy
from nock_client.shapes.limits import Limits

Kind = Literal["float", "boolean", "comment", "demonstration"]
Combine = Literal["mean", "sum", "last", "max"]
Level = Literal["turn", "conversation"]
Direction = Literal["higher", "lower"]


class Metric(TypedDict):
    """One thing that outcomes say; to declare one, only `name` must be given."""

    name: str
    kind: NotRequired[Kind]
    weight: NotRequired[float]
    combine: NotRequired[Combine]
    required: NotRequired[bool]
    low: NotRequired[float | None]
    high: NotRequired[float | None]
    level: NotRequired[Level | None]
    direction: NotRequired[Direction | None]
    window_seconds: NotRequired[float]
    missing: NotRequired[bool | float | None]
    guard: NotRequired[bool]


class Schedule(TypedDict, total=False):
    enabled: bool
    min_conversations: int
    min_seconds: float


class Gates(TypedDict, total=False):
    promotion: Literal["manual", "canary-then-ask", "auto"]
    ramp: list[float]
    stage_units: int
    most_units: int
    error: float
    margin: float
    margins: dict[str, float]
    reward_range: list[Any] | None
    holdout: float


class Prompt(TypedDict, total=False):
    """One prompt of a regression suite, and what its reply must be."""

    name: str | None
    prompt: str | None
    messages: list[dict[str, Any]] | None
    tools: list[dict[str, Any]] | None
    max_tokens: int | None
    checks: Required[dict[str, Any]]


class AgentFields(TypedDict, total=False):
    """What can be said of an agent; a field that is left out keeps its value or default, None is a value."""

    base_model: str | None
    system_prompt: str | None
    sampling: dict[str, Any] | None
    metrics: list[Metric] | None
    discount: float | None
    max_turns: int | None
    idle_seconds: float | None
    schedule: Schedule | None
    learner: dict[str, Any] | None
    gates: Gates | None
    browser_metric: str | None
    erasure: Policy | None
    retention_days: float | None
    limits: Limits | None
    suite: list[Prompt] | None


class Agent(TypedDict):
    name: str
    base_model: str
    system_prompt: str | None
    sampling: dict[str, Any]
    metrics: list[Metric]
    discount: float
    max_turns: int
    idle_seconds: float
    schedule: dict[str, Any]
    learner: dict[str, Any]
    gates: dict[str, Any]
    browser_metric: str | None
    erasure: Policy
    retention_days: float | None
    limits: dict[str, int]
    suite: list[dict[str, Any]]
    created_at: str
    updated_at: str

"""An agent as its owner writes it down, in JSON or YAML."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, field_validator, model_validator

from core.domain.adapters import AGENT_NAME
from core.domain.erasure import ErasurePolicy
from core.domain.gates import Gates, Promotion
from core.domain.metrics import DAY_SECONDS, Combine, Direction, Level, MetricKind
from core.domain.sampling import find_refused
from service.agents.suites import Suite
from service.bodies import ShortText, Text
from service.limits.schemas import LimitsIn

MOST_WINDOW_SECONDS = 400 * DAY_SECONDS
MOST_RETENTION_DAYS = 36_500

GATEWAYS = {"model", "messages", "stream", "stream_options", "logprobs", "top_logprobs", "return_token_ids", "tools"}
"""What the gateway says to the engine itself, or the client."""

DEMANDS = Gates()
Finite = Annotated[float, Field(allow_inf_nan=False)]
AgentName = Annotated[str, StringConstraints(pattern=f"^{AGENT_NAME.pattern}$")]


class Sampling(BaseModel):
    """How the agent speaks where a request does not say. Other fields pass to the engine."""

    model_config = ConfigDict(extra="allow")

    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def asks_for_what_can_be_kept(self) -> Self:
        given = self.model_extra or {}
        if refused := find_refused(given):
            raise ValueError(f"{refused[0]} cannot be set so: {refused[1]}")
        if named := sorted(GATEWAYS & given.keys()):
            raise ValueError(f"{named[0]} is not for the agent to set")
        return self


class MetricIn(BaseModel):
    """One thing that outcomes say. Its weight makes it part of the reward; 0 records it only."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText
    kind: MetricKind = MetricKind.FLOAT
    weight: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    combine: Combine = Combine.MEAN
    required: bool = True
    low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    level: Level | None = None
    direction: Direction | None = None
    window_seconds: Annotated[float, Field(ge=0, le=MOST_WINDOW_SECONDS)] = 7 * DAY_SECONDS
    missing: StrictBool | Annotated[float, Field(allow_inf_nan=False)] | None = None
    guard: bool = False


class Schedule(BaseModel):
    """When the agent learns by itself: after so many new outcomes and so much time."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    min_conversations: Annotated[int, Field(ge=1)] = 24
    min_seconds: Annotated[float, Field(ge=0)] = 900.0


class GatesIn(BaseModel):
    """What a version must show before everybody meets it; what is left out is as in core.domain.gates."""

    model_config = ConfigDict(extra="forbid")

    promotion: Promotion = Promotion.MANUAL
    ramp: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1, max_length=20)] = list(DEMANDS.ramp)
    stage_units: Annotated[int, Field(ge=1)] = DEMANDS.stage_units
    most_units: Annotated[int, Field(ge=1, le=100_000)] = DEMANDS.most_units
    error: Annotated[float, Field(gt=0, lt=0.5)] = DEMANDS.error
    margin: Annotated[float, Field(gt=0, lt=1)] = DEMANDS.margin
    margins: dict[ShortText, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    reward_range: tuple[Finite, Finite] | None = None
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class AgentChange(BaseModel):
    """What may change of an agent; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    base_model: ShortText | None = None
    system_prompt: Annotated[Text, Field(max_length=100_000)] | None = None
    sampling: Sampling | None = None
    metrics: list[MetricIn] | None = None
    discount: Annotated[float, Field(gt=0, le=1)] | None = None
    max_turns: Annotated[int, Field(ge=1)] | None = None
    idle_seconds: Annotated[float, Field(gt=0)] | None = None
    schedule: Schedule | None = None
    learner: dict[str, Any] | None = None
    gates: GatesIn | None = None
    browser_metric: ShortText | None = None
    erasure: ErasurePolicy | None = None
    retention_days: Annotated[float, Field(gt=0, le=MOST_RETENTION_DAYS)] | None = None
    limits: LimitsIn | None = None
    """What each end user may use up; `{}` limits nobody."""
    suite: Suite | None = None

    @field_validator("metrics")
    @classmethod
    def names_each_metric_once(cls, metrics: list[MetricIn] | None) -> list[MetricIn] | None:
        names = [metric.name for metric in metrics or []]
        if len(set(names)) < len(names):
            raise ValueError("names a metric twice")
        return metrics


class AgentIn(AgentChange):
    """A new agent. Without `base_model` it is served by whatever base the engines report, if that is one."""

    name: AgentName


class AgentOut(BaseModel):
    name: str
    base_model: str
    system_prompt: str | None
    sampling: dict[str, Any]
    metrics: list[MetricIn]
    discount: float
    max_turns: int
    idle_seconds: float
    schedule: dict[str, Any]
    learner: dict[str, Any]
    gates: dict[str, Any]
    browser_metric: str | None
    erasure: ErasurePolicy
    retention_days: float | None
    limits: dict[str, int]
    suite: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime


class Agents(BaseModel):
    data: list[AgentOut]
    next: str | None = None

"""A conversation with its turns and outcomes."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from core.domain.conversations import ConversationState, Grouping
from core.domain.episodes import Arm, EpisodeEnd
from core.domain.sampling import Learnable


class LessonOut(BaseModel):
    """A learner run that a turn taught; `adapter` is the version that came out. `reward` is what it taught with, null
    where only what was demonstrated at it has."""

    run_id: str
    adapter: str | None
    reward: float | None
    demonstrated: bool
    trained_actor: bool


class TurnOut(BaseModel):
    turn_id: str
    index: int
    adapter: str
    messages: list[dict[str, Any]]
    reply: dict[str, Any]
    finish_reason: str
    usage: dict[str, Any]
    reward: float | None
    learnable: Learnable
    learnable_reason: str | None
    created_at: datetime
    taught: list[LessonOut]
    prompt_token_ids: list[int] | None = None
    completion_token_ids: list[int] | None = None
    logprobs: list[float] | None = None


class FeedbackEntryOut(BaseModel):
    feedback_id: str
    turn_id: str | None
    metric: str
    value: Any
    supersedes: str | None
    retracts: str | None
    source: str
    comment: str | None
    occurred_at: datetime | None
    received_at: datetime


class EpisodeOut(BaseModel):
    episode_id: str
    adapter: str
    arm: Arm
    propensity: float
    turn_count: int
    started_at: datetime
    ended_at: datetime | None
    ended_by: EpisodeEnd | None


class ConversationOut(BaseModel):
    conversation_id: str
    external_id: str | None
    agent: str
    adapter: str | None
    episodes: list[EpisodeOut]
    state: ConversationState
    user: str | None
    tags: dict[str, Any]
    parent: str | None
    grouped: Grouping
    opened_at: datetime
    closed_at: datetime | None
    outcome_chance: float | None
    """How many of its kind came to have an outcome, as estimated when it ended."""
    total_return: float | None = Field(serialization_alias="return")
    turns: list[TurnOut]
    feedback: list[FeedbackEntryOut]

"""Conversations with their turns and outcomes, and the agents to talk to."""

from typing import Any, Literal, NotRequired, TypedDict

from nock_client.shapes.feedback import State


class Lesson(TypedDict):
    """A run that a turn taught, with the reward that it taught with."""

    run_id: str
    adapter: str | None
    reward: float | None
    demonstrated: bool
    trained_actor: bool


class Turn(TypedDict):
    """What was new in a request and what was replied; tokens only where they were asked for."""

    turn_id: str
    index: int
    adapter: str
    messages: list[dict[str, Any]]
    reply: dict[str, Any]
    finish_reason: str
    usage: dict[str, Any]
    reward: float | None
    learnable: Literal["actor", "critic", "none"]
    learnable_reason: str | None
    created_at: str
    taught: list[Lesson]
    prompt_token_ids: NotRequired[list[int] | None]
    completion_token_ids: NotRequired[list[int] | None]
    logprobs: NotRequired[list[float] | None]


class Episode(TypedDict):
    """A stretch of a conversation that one version served."""

    episode_id: str
    adapter: str
    arm: Literal["stable", "pinned", "canary", "holdout"]
    propensity: float
    turn_count: int
    started_at: str
    ended_at: str | None
    ended_by: Literal["closed", "final", "idle", "cap", "rejected", "pinned", "erased"] | None


class FeedbackEntry(TypedDict):
    """One line of the ledger."""

    feedback_id: str
    turn_id: str | None
    metric: str
    value: Any
    supersedes: str | None
    retracts: str | None
    source: str
    comment: str | None
    occurred_at: str | None
    received_at: str


# Apart, because `return` is no name in a class.
_WithReturn = TypedDict("_WithReturn", {"return": float | None})


class Conversation(_WithReturn):
    conversation_id: str
    external_id: str | None
    agent: str
    adapter: str | None
    episodes: list[Episode]
    state: State
    user: str | None
    tags: dict[str, Any]
    parent: str | None
    grouped: Literal["client", "history", "new", "branch", "ambiguous"]
    opened_at: str
    closed_at: str | None
    outcome_chance: float | None
    turns: list[Turn]
    feedback: list[FeedbackEntry]


class ModelCard(TypedDict):
    id: str
    object: NotRequired[Literal["model"]]
    created: int
    owned_by: NotRequired[str]


class ModelList(TypedDict):
    object: NotRequired[Literal["list"]]
    data: list[ModelCard]

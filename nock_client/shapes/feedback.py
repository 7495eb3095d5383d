"""Outcomes: what is said, what is answered, and what could not be joined."""

from typing import Any, Literal, NotRequired, Required, TypedDict

State = Literal["open", "awaiting", "matured", "expired"]
Consequence = Literal["pending", "next_update", "relearn", "record_only"]


class Outcome(TypedDict, total=False):
    """One entry of a batch: it names a turn, a conversation or both."""

    conversation_id: str | None
    turn_id: str | None
    agent: str | None
    metric: str
    value: Required[bool | float | str]
    final: bool
    idempotency_key: str | None
    occurred_at: str | None
    source: str
    comment: str | None
    supersedes: str | None


class Feedback(TypedDict):
    """What was stored, the conversation's state, and what it will change."""

    feedback_id: str
    conversation_id: str
    turn_id: str | None
    metric: str
    value: Any
    state: State
    consequence: Consequence
    reason: NotRequired[str | None]


class ErrorDetail(TypedDict):
    code: str
    message: str
    param: NotRequired[str | None]


class BatchItem(TypedDict):
    """What one entry would have been answered alone: `status` 200 or 201 with the entry, or the error."""

    status: int
    error: NotRequired[ErrorDetail | None]
    feedback_id: NotRequired[str]
    conversation_id: NotRequired[str]
    turn_id: NotRequired[str | None]
    metric: NotRequired[str]
    value: NotRequired[Any]
    state: NotRequired[State]
    consequence: NotRequired[Consequence]
    reason: NotRequired[str | None]


class Batch(TypedDict):
    """In the order of the entries."""

    data: list[BatchItem]


class DeadLetter(TypedDict):
    """An outcome that found no turn and no conversation, as it was sent."""

    dead_letter_id: str
    reason: str
    body: dict[str, Any]
    received_at: str

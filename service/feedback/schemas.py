"""What is said about a turn or a conversation, and what is answered."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictBool

from core.domain.conversations import ConversationState
from service.bodies import ShortText, Text
from service.errors import ErrorDetail

Consequence = Literal["pending", "next_update", "relearn", "record_only"]


def _in_utc(at: datetime) -> datetime:
    """The time in UTC, of years that have one there and in Postgres."""
    if not 1970 <= at.year <= 9000:
        raise ValueError("lies outside the years 1970 to 9000")
    return at.astimezone(UTC)


class FeedbackIn(BaseModel):
    """One outcome. The value's type is the metric's: number, true or false, or a text.

    It names a turn, a conversation or both; with a feedback token neither, and no metric: the token names them.
    """

    model_config = ConfigDict(extra="forbid")

    conversation_id: ShortText | None = None
    turn_id: ShortText | None = None
    agent: ShortText | None = None
    metric: ShortText = "reward"
    value: StrictBool | float | Text
    final: bool = False
    idempotency_key: ShortText | None = None
    occurred_at: Annotated[AwareDatetime, AfterValidator(_in_utc)] | None = None
    source: ShortText = "api"
    comment: Annotated[Text, Field(max_length=10_000)] | None = None
    supersedes: ShortText | None = None


class FeedbackOut(BaseModel):
    """What was stored and what it will change."""

    feedback_id: str
    conversation_id: str
    turn_id: str | None
    metric: str
    value: Any
    state: ConversationState
    consequence: Consequence
    reason: str | None = None


class BatchIn(BaseModel):
    """Up to 1,000 outcomes. Each is checked by itself, so that a bad one does not block the others."""

    model_config = ConfigDict(extra="forbid")

    entries: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]


class BatchItem(BaseModel):
    """What one outcome would have been answered alone: the stored entry, or the error."""

    model_config = ConfigDict(extra="allow")

    status: int
    error: ErrorDetail | None = None


class BatchOut(BaseModel):
    """In the order of the request."""

    data: list[BatchItem]


class DeadLetterOut(BaseModel):
    dead_letter_id: str
    reason: str
    body: dict[str, Any]
    received_at: datetime


class DeadLetters(BaseModel):
    data: list[DeadLetterOut]
    next: str | None

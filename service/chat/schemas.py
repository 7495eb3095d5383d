"""What clients send and get: OpenAI's chat completion as far as Nock looks into it; the rest passes to the engine."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.domain.conversations import Message
from service.bodies import ShortText, Text

MOST_TAGS = 16
TAG_LENGTH = 64

OURS = {"model", "messages", "stream", "stream_options", "metadata", "user", "store", "n", "logprobs", "top_logprobs"}
"""Fields that Nock answers for; every other one is the engine's."""


class ToolFunction(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    arguments: str


class ToolCall(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str | None = None
    function: ToolFunction


class MessageIn(BaseModel):
    """One message; what the schema does not name is kept and passed on."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def says_something(self) -> "MessageIn":
        if self.content is None and not self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of role {self.role!r} needs content")
        return self


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")

    include_usage: bool = False


class ChatCompletionIn(BaseModel):
    """A chat completion request."""

    model_config = ConfigDict(extra="allow")

    model: ShortText
    messages: Annotated[list[MessageIn], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: dict[str, Any] | None = None
    user: Text | None = None
    store: bool | None = None

    @field_validator("metadata")
    @classmethod
    def holds_few_short_texts(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        given = {name: value for name, value in (metadata or {}).items() if value is not None}
        tags = {name: value for name, value in given.items() if name not in ("conversation_id", "user")}
        if len(tags) > MOST_TAGS:
            raise ValueError(f"holds {len(tags)} tags, {MOST_TAGS} at most")
        for name, value in given.items():
            if not isinstance(value, str) or "\x00" in name + value:
                raise ValueError(f"{name!r} must be a text without NUL characters")
        if any(len(name) > TAG_LENGTH or len(value) > TAG_LENGTH for name, value in tags.items()):
            raise ValueError(f"a tag is longer than {TAG_LENGTH} characters")
        return given

    @property
    def tags(self) -> dict[str, str]:
        return {name: value for name, value in (self.metadata or {}).items() if name not in ("conversation_id", "user")}

    @property
    def conversation_id(self) -> str | None:
        return (self.metadata or {}).get("conversation_id")

    @property
    def end_user(self) -> str | None:
        return self.user if self.user is not None else (self.metadata or {}).get("user")

    def plain_messages(self) -> list[Message]:
        return [message.model_dump(exclude_unset=True) for message in self.messages]

    def engine_fields(self) -> dict[str, Any]:
        """What the client said about generation, to be passed on."""
        given = self.model_dump(exclude_unset=True, exclude_none=True)
        return {name: value for name, value in given.items() if name not in OURS}


class ChatIn(BaseModel):
    """One message to an agent; the service keeps the history."""

    agent: ShortText
    message: Annotated[Text, Field(min_length=1)]
    conversation_id: Text | None = None
    user: Text | None = None


class ChatOut(BaseModel):
    conversation_id: str
    turn_id: str
    adapter: str
    reply: str


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "nock"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]

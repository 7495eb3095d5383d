"""What clients send and get: OpenAI's chat completion as far as Nock looks into it; the rest passes to the engine."""

from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator, with_config
from typing_extensions import TypedDict

from core.domain.conversations import Message
from core.domain.errors import InvalidValueError
from core.domain.sampling import find_refused
from core.storage.models import Agent
from service.bodies import ShortText, Text
from service.chat.presenting import Shown

MOST_TAGS = 16
TAG_LENGTH = 64
END_USER_LENGTH = 512
"""In characters, of four bytes at most: what an index of Postgres takes, however little it can be made smaller."""
MOST_TOOLS = 1024
INT64 = 2**63

_OURS = "model messages stream stream_options metadata user store n logprobs top_logprobs return_token_ids"
OURS = frozenset(_OURS.split())
"""Fields that Nock answers for; every other one is the engine's."""

OPEN = ConfigDict(extra="allow", strict=True)


def _text_or_parts(content: Any) -> Any:
    """Said in one sentence: pydantic's own would name each kind of content that it is not."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("must be a text or a list of parts")
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ValueError("holds a part without a type")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise ValueError("holds a part of type text without a text")
    return content


def _one_or_several(texts: Any) -> Any:
    given = [texts] if isinstance(texts, str) else texts
    if given is not None and not (isinstance(given, list) and all(isinstance(text, str) for text in given)):
        raise ValueError("must be a text or a list of texts")
    return texts


def _word_or_object(choice: Any) -> Any:
    if choice is not None and not isinstance(choice, str | dict):
        raise ValueError("must be a word or an object")
    return choice


EndUser = Annotated[Text, Field(max_length=END_USER_LENGTH)]
Content = Annotated[str | list[dict[str, Any]] | None, BeforeValidator(_text_or_parts)]
Stop = Annotated[str | list[str] | None, BeforeValidator(_one_or_several)]
ToolChoice = Annotated[str | dict[str, Any] | None, BeforeValidator(_word_or_object)]
Flag = Annotated[bool, BeforeValidator(lambda given: False if given is None else given)]
"""False where it is null: clients write down what they leave open."""
Penalty = Annotated[float, Field(ge=-2, le=2)]


@with_config(OPEN)
class ToolFunction(TypedDict):
    name: str
    arguments: str


@with_config(OPEN)
class ToolCall(TypedDict):
    id: NotRequired[str | None]
    function: ToolFunction


@with_config(OPEN)
class MessageIn(TypedDict):
    """One message; what the schema does not name is kept and passed on."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: NotRequired[Content]
    tool_calls: NotRequired[list[ToolCall] | None]
    tool_call_id: NotRequired[str | None]
    function_call: NotRequired[ToolFunction | None]


@with_config(OPEN)
class Tool(TypedDict):
    type: str
    function: NotRequired[dict[str, Any]]


class StreamOptions(BaseModel):
    model_config = OPEN

    include_usage: Flag = False


class ChatCompletionIn(BaseModel):
    """A chat completion request. What the schema does not name passes to the engine, which may refuse it.

    Of `metadata`, `conversation_id` and `user` say the same as the header and the field, within the same lengths; every
    other entry is a tag.
    """

    model_config = OPEN

    model: ShortText
    messages: Annotated[list[MessageIn], Field(min_length=1)]
    stream: Flag = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: Flag = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-INT64, lt=INT64)] | None = None
    stop: Stop = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    return_token_ids: Flag = False
    metadata: dict[str, Any] | None = None
    user: EndUser | None = None
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
                raise ValueError(f"{name[:TAG_LENGTH]!r} must be a text without NUL characters")
        if any(len(name) > TAG_LENGTH or len(value) > TAG_LENGTH for name, value in tags.items()):
            raise ValueError(f"a tag is longer than {TAG_LENGTH} characters")
        if len(given.get("user", "")) > END_USER_LENGTH:
            raise ValueError(f"'user' is longer than {END_USER_LENGTH} characters")
        return given

    @model_validator(mode="after")
    def makes_sense(self) -> Self:
        """Raises InvalidValueError, which names the field at fault as no error of pydantic's could from here."""
        check_messages(self.messages)
        if self.stream_options is not None and not self.stream:
            raise InvalidValueError("stream_options are for a stream: set `stream`.", param="stream_options")
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidValueError("top_logprobs need `logprobs` to be true.", param="top_logprobs")
        if refused := find_refused(self.model_extra or {}):
            name, reason = refused
            raise InvalidValueError(f"{name} cannot be set so: {reason}.", param=name, code="unsupported_parameter")
        return self

    @property
    def shown(self) -> Shown:
        return Shown(logprobs=self.logprobs, token_ids=self.return_token_ids)

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
        return [dict(message) for message in self.messages]

    def engine_fields(self) -> dict[str, Any]:
        """What the client said about generation, to be passed on."""
        given = self.__dict__ | (self.model_extra or {})
        return {name: value for name, value in given.items() if value is not None and name not in OURS}


def check_messages(messages: list[MessageIn]) -> None:
    """Raises InvalidValueError where a message says nothing, or answers a call that was not made before it."""
    called: set[str | None] = set()
    for place, message in enumerate(messages):
        role = message["role"]
        if role != "assistant" and message.get("content") is None:
            raise InvalidValueError(f"A message of role {role} needs content.", param=f"messages.{place}.content")
        if role == "tool" and message.get("tool_call_id") not in called:
            raise InvalidValueError(
                "tool_call_id names no tool call of an earlier message.", param=f"messages.{place}.tool_call_id"
            )
        called.update(call.get("id") for call in message.get("tool_calls") or ())


class ChatIn(BaseModel):
    """One message to an agent; the service keeps the history."""

    agent: ShortText
    message: Annotated[Text, Field(min_length=1)]
    conversation_id: Text | None = None
    user: EndUser | None = None


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

    @classmethod
    def of(cls, agent: Agent) -> "ModelCard":
        return cls(id=agent.name, created=int(agent.created_at.timestamp()))


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]

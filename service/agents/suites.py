"""A regression suite as an agent's owner writes it down: prompts, and what their replies must be."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from core.domain.suites import check_pattern, check_schema
from service.bodies import ShortText, Text

MOST_PROMPTS = 200
MOST_PARTS = 50

Part = Annotated[Text, Field(min_length=1, max_length=10_000)]
Parts = Part | Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS)]
Size = Annotated[int, Field(ge=0, le=1_000_000)]


class Tool(BaseModel):
    """A tool that the reply must call, with at least these arguments."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText
    arguments: dict[str, Any] | None = None


class Checks(BaseModel):
    """What must be true of a reply; core.domain.suites has each by its name."""

    contains: Parts | None = None
    not_contains: Parts | None = None
    matches: Parts | None = None
    json_schema: dict[str, Any] | None = None
    tool: Tool | None = None
    refusal: StrictBool | None = None
    min_characters: Size | None = None
    max_characters: Size | None = None
    min_tokens: Size | None = None
    max_tokens: Size | None = None

    @model_validator(mode="before")
    @classmethod
    def knows_them_all(cls, given: Any) -> Any:
        """In a sentence with the names that there are: a check that is misspelt would else guard nothing."""
        if isinstance(given, dict):
            for name, wanted in given.items():
                if name not in cls.model_fields:
                    raise ValueError(f"there is no check {str(name)[:100]!r}; there are {', '.join(cls.model_fields)}")
                if wanted is None:
                    raise ValueError(f"{name} says nothing")
        if not given:
            raise ValueError("must name a check")
        return given

    @field_validator("matches")
    @classmethod
    def are_patterns(cls, patterns: str | list[str] | None) -> str | list[str] | None:
        for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
            check_pattern(pattern)
        return patterns

    @field_validator("json_schema")
    @classmethod
    def is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            check_schema(schema)
        return schema


class MessageIn(BaseModel):
    """One message of a prompt that is more than a question; other fields pass to the engine."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None


class PromptIn(BaseModel):
    """One prompt of a suite: a question or the messages of a conversation so far."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText | None = None
    prompt: Part | None = None
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=100)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=100)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    checks: Checks

    @model_validator(mode="after")
    def asks_one_thing(self) -> "PromptIn":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("must have either a prompt or messages")
        return self


Suite = Annotated[list[PromptIn], Field(max_length=MOST_PROMPTS)]

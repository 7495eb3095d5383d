"""Limits as their owner writes them down, for a key and for the end users of an agent."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.domain.limits import Limits


class LimitsIn(BaseModel):
    """What is left out is not limited. Bounds keep what Redis must remember of one key small."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1, le=1_000_000_000_000)] | None = None

    def limits(self) -> Limits:
        return Limits(**self.model_dump())

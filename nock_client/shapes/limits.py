"""How much a key, or each end user of an agent, may use up."""

from typing import TypedDict


class Limits(TypedDict, total=False):
    """What is left out is not limited."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    tokens_per_day: int | None

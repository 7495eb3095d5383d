"""What a key, or each end user of an agent, may use up; knows not where it is counted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """None sets no limit. A minute slides; a day is one of UTC, so that a budget begins anew at a known hour."""

    requests_per_minute: int | None = None
    """Turns and outcomes together; a batch of outcomes counts its entries."""
    tokens_per_minute: int | None = None
    """Of prompts and replies. A turn is let in below the limit and counted at its end, so the last ones may pass it."""
    concurrent_requests: int | None = None
    """Turns that are under way at once."""
    tokens_per_day: int | None = None
    """A budget, counted as `tokens_per_minute` is."""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Limits":
        return cls(**stored)

    def to_json(self) -> dict[str, int]:
        """Only the limits that there are."""
        return {name: value for name, value in asdict(self).items() if value is not None}


UNLIMITED = Limits()

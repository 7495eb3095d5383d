"""Which of the limits apply to a request, and under which names Redis counts them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from core.domain.keys import Key
from core.domain.limits import UNLIMITED, Limits
from core.domain.signatures import Purpose, Signer
from core.storage.models import Agent


class Kind(StrEnum):
    """What is counted; count.lua knows these names."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    PLACES = "places"
    BUDGET = "budget"


FIELDS = {
    Kind.REQUESTS: "requests_per_minute",
    Kind.TOKENS: "tokens_per_minute",
    Kind.PLACES: "concurrent_requests",
    Kind.BUDGET: "tokens_per_day",
}


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit of one key or of one end user. `name` holds nobody's name: Redis is no place for it."""

    kind: Kind
    limit: int
    whose: str
    """`key` or `user`."""
    name: str

    @property
    def field(self) -> str:
        """The limit as its owner wrote it down."""
        return FIELDS[self.kind]


def of_turn(key: Key, agent: Agent, end_user: str | None, signer: Signer) -> list[Meter]:
    """Those of the key and those of the end user. Where nobody is named, all of the key's requests are one user's."""
    meters = list(_meters(key.limits, "key", key.id.hex))
    if agent.limits:
        user = _hashed(signer, agent.id, key, end_user)
        meters += _meters(Limits.from_json(agent.limits), "user", user)
    return meters


def of_outcomes(key: Key) -> list[Meter]:
    """Outcomes cost no tokens and hold no place: the key's requests alone are counted."""
    return [meter for meter in _meters(key.limits, "key", key.id.hex) if meter.kind is Kind.REQUESTS]


def _meters(limits: Limits, whose: str, who: str) -> Iterator[Meter]:
    if limits == UNLIMITED:
        return
    for kind, field in FIELDS.items():
        limit: int | None = getattr(limits, field)
        if limit is not None:
            yield Meter(kind, limit, whose, f"nock:limits:{whose}:{who}:{kind}")


def _hashed(signer: Signer, agent: UUID, key: Key, end_user: str | None) -> str:
    named = ("key", key.id.hex) if end_user is None else ("user", end_user)
    return signer.sign(Purpose.LIMITED_USER, agent.hex, *named).hex()[:32]

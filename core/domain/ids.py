"""Ids: time-ordered UUIDs (version 7) inside, a word and 32 hexadecimal digits outside."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from uuid_utils.compat import uuid7


class Prefix(StrEnum):
    """What a public id names, so that no id of one thing is taken for one of another."""

    CONVERSATION = "conv"
    EPISODE = "ep"
    TURN = "turn"
    FEEDBACK = "fb"
    DEAD_LETTER = "dl"
    RUN = "run"
    KEY = "key"
    ERASURE = "era"
    EXPORT = "exp"
    MESSAGE = "msg"
    EVALUATION = "eval"
    AUDIT = "audit"


def new_id() -> UUID:
    """A fresh id; later ones sort after earlier ones."""
    return UUID(int=uuid7().int)


def first_id_at(time: datetime) -> UUID:
    """The least id that a thing made at that time may have, by the clock of whoever made it."""
    return UUID(int=int(time.timestamp() * 1000) << 80)


def public(prefix: Prefix, value: UUID) -> str:
    """`turn_0193…`, as clients see it."""
    return f"{prefix}_{value.hex}"


def parse(prefix: Prefix, text: str) -> UUID | None:
    """The id inside a public one, or None when `text` is no id of this kind."""
    head, _, digits = text.partition("_")
    if head != prefix or len(digits) != 32 or not set(digits) <= set("0123456789abcdef"):
        return None
    return UUID(hex=digits)

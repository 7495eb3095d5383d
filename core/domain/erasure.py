"""Erasure: what a tombstone stands for, and what becomes of versions that learned from what was erased."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from uuid import UUID


class ErasurePolicy(StrEnum):
    """What an agent does with versions that learned from what was erased; later ones are stricter."""

    KEEP = "keep"
    RETRAIN = "retrain"
    RETIRE = "retire"


class ErasureSubject(StrEnum):
    """What was asked to go."""

    CONVERSATION = "conversation"
    USER = "user"
    RETENTION = "retention"


class Named(StrEnum):
    """What a tombstone stands for, so that no name of one thing is taken for one of another."""

    CONVERSATION = "conversation"
    EXTERNAL_ID = "external id"
    TURN = "turn"
    FEEDBACK = "feedback"
    USER = "user"


BARRING = (ErasurePolicy.RETRAIN, ErasurePolicy.RETIRE)
"""A version or run that bears one of these is never put into service again, and nothing begins with it."""


def strictest(marks: Collection[ErasurePolicy | None]) -> ErasurePolicy | None:
    """The mark of what has several reasons for one: a mark is never weakened."""
    order = list(ErasurePolicy)
    return max((mark for mark in marks if mark is not None), key=order.index, default=None)


def spread(taught: Collection[UUID], begins_with: Mapping[UUID, Collection[UUID | None]]) -> set[UUID]:
    """Those that learned from what was erased: the `taught` ones, and what began with one that did, at any remove."""
    learned = set(taught)
    while found := {
        one for one, starts in begins_with.items() if one not in learned and not learned.isdisjoint(starts)
    }:
        learned |= found
    return learned

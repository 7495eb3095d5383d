"""Episodes: a stretch of one conversation served by one version, and what its end means for learning."""

from enum import StrEnum


class Arm(StrEnum):
    """Why an episode is served by its version."""

    STABLE = "stable"
    PINNED = "pinned"
    CANARY = "canary"
    HOLDOUT = "holdout"


class EpisodeEnd(StrEnum):
    """Why an episode ended."""

    CLOSED = "closed"
    FINAL = "final"
    IDLE = "idle"
    CAP = "cap"
    REJECTED = "rejected"
    PINNED = "pinned"
    ERASED = "erased"


def is_terminal(end: EpisodeEnd) -> bool:
    """Whether the conversation was over for the user, so that nothing of value can follow.

    A cap on turns, a version that was rejected or retired by erasure, or a request pinned to another one cuts an
    episode that might have gone on: its last turn bootstraps, unless an outcome speaks of the whole conversation.
    An idle end counts as terminal only because learning takes matured conversations: the outcome was said.
    """
    return end not in (EpisodeEnd.CAP, EpisodeEnd.REJECTED, EpisodeEnd.PINNED, EpisodeEnd.ERASED)

"""What a canary is: one version on trial before a share of new conversations, and how such a trial ends."""

from enum import StrEnum


class CanaryState(StrEnum):
    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"


class EvaluationKind(StrEnum):
    """What is looked at before anybody meets a version."""

    OFFLINE = "offline"
    SUITE = "suite"


class EvaluationState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    WORSE = "worse"
    UNDECIDED = "undecided"
    FAILED = "failed"

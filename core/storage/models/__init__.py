"""Tables, one file a noun; importing this package makes the metadata complete."""

from core.storage.models.adapters import AdapterVersion, EngineResidency, Rollout, RolloutEvent
from core.storage.models.agents import Agent, Metric, OutcomeChance
from core.storage.models.audit import AuditEntry
from core.storage.models.base import Base
from core.storage.models.canaries import Canary, CanaryUnit
from core.storage.models.conversations import Conversation, Episode
from core.storage.models.erasures import Erasure, Tombstone
from core.storage.models.evaluations import Evaluation
from core.storage.models.exports import Export
from core.storage.models.keys import ApiKey
from core.storage.models.learner import LearnerRun, Lease, RunState, RunTurn
from core.storage.models.outbox import OutboxMessage
from core.storage.models.rewards import DeadLetter, Demonstration, IdempotencyKey, RewardEntry
from core.storage.models.turns import Turn, TurnTokens

__all__ = [
    "AdapterVersion",
    "Agent",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Canary",
    "CanaryUnit",
    "Conversation",
    "DeadLetter",
    "Demonstration",
    "EngineResidency",
    "Episode",
    "Erasure",
    "Evaluation",
    "Export",
    "IdempotencyKey",
    "LearnerRun",
    "Lease",
    "Metric",
    "OutboxMessage",
    "OutcomeChance",
    "RewardEntry",
    "Rollout",
    "RolloutEvent",
    "RunState",
    "RunTurn",
    "Tombstone",
    "Turn",
    "TurnTokens",
]

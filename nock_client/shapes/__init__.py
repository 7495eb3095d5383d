"""What the gateway answers, as it answers it: typed dictionaries. Times are RFC 3339 in UTC; fields may be added."""

from nock_client.shapes.adapters import Adapter, EvaluationQueued, Lineage, Taught
from nock_client.shapes.agents import Agent, AgentFields, Gates, Metric, Prompt, Schedule
from nock_client.shapes.audit import AuditEntry
from nock_client.shapes.conversations import Conversation, Episode, FeedbackEntry, Lesson, ModelCard, ModelList, Turn
from nock_client.shapes.erasures import Consequences, Erasure, ErasurePart, TakenExport, TaughtVersion
from nock_client.shapes.feedback import Batch, BatchItem, DeadLetter, Feedback, Outcome
from nock_client.shapes.keys import Key, KeyFields, NewKey, Scope
from nock_client.shapes.limits import Limits
from nock_client.shapes.page import Page
from nock_client.shapes.rollouts import Canary, Rollout, RolloutEvent
from nock_client.shapes.runs import Run, RunQueued

__all__ = [
    "Adapter",
    "Agent",
    "AgentFields",
    "AuditEntry",
    "Batch",
    "BatchItem",
    "Canary",
    "Consequences",
    "Conversation",
    "DeadLetter",
    "Episode",
    "Erasure",
    "ErasurePart",
    "EvaluationQueued",
    "Feedback",
    "FeedbackEntry",
    "Gates",
    "Key",
    "KeyFields",
    "Lesson",
    "Limits",
    "Lineage",
    "Metric",
    "ModelCard",
    "ModelList",
    "NewKey",
    "Outcome",
    "Page",
    "Prompt",
    "Rollout",
    "RolloutEvent",
    "Run",
    "RunQueued",
    "Schedule",
    "Scope",
    "TakenExport",
    "Taught",
    "TaughtVersion",
    "Turn",
]

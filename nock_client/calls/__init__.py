"""Every call that `Nock` and `AsyncNock` make, as plain data: the one place that knows paths and fields."""

from nock_client.calls.adapters import adapter, adapters, canary, import_adapter, lineage, promote, reject, run_suite
from nock_client.calls.agents import agent, agents, change_agent, create_agent
from nock_client.calls.audit import audit
from nock_client.calls.conversations import close_conversation, conversation, model, models
from nock_client.calls.erasing import delete_conversation, delete_user, erasure, erasures
from nock_client.calls.feedback import dead_letters, feedback, feedback_batch, retract, retry_dead_letter
from nock_client.calls.keys import change_key, create_key, keys, revoke_key, rotate_key
from nock_client.calls.learning import learn, run, runs
from nock_client.calls.rollouts import canaries, rollback, rollout, rollout_events

__all__ = [
    "adapter",
    "adapters",
    "agent",
    "agents",
    "audit",
    "canaries",
    "canary",
    "change_agent",
    "change_key",
    "close_conversation",
    "conversation",
    "create_agent",
    "create_key",
    "dead_letters",
    "delete_conversation",
    "delete_user",
    "erasure",
    "erasures",
    "feedback",
    "feedback_batch",
    "import_adapter",
    "keys",
    "learn",
    "lineage",
    "model",
    "models",
    "promote",
    "reject",
    "retract",
    "retry_dead_letter",
    "revoke_key",
    "rollback",
    "rollout",
    "rollout_events",
    "rotate_key",
    "run",
    "run_suite",
    "runs",
]

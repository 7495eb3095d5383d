"""What a client is told of its outcome: the entry, the conversation's state, and what follows for learning."""

from enum import Enum, auto
from typing import Any

from core.domain import ids
from core.domain.conversations import ConversationState
from core.storage.models import Conversation, RewardEntry
from core.storage.repositories.learner import Teaching


class Effect(Enum):
    """What an entry does to learning by what it is."""

    NONE = auto()
    REWARD = auto()
    DEMONSTRATION = auto()


def answer_fields(
    entry: RewardEntry, conversation: Conversation, teaching: Teaching | None, effect: Effect
) -> dict[str, Any]:
    """The answer to whoever gave or withdrew it. `teaching` is None where the conversation has no turns."""
    consequence, reason = _consequence(entry, conversation, teaching, effect)
    return {
        "feedback_id": ids.public(ids.Prefix.FEEDBACK, entry.id),
        "conversation_id": ids.public(ids.Prefix.CONVERSATION, conversation.id),
        "turn_id": ids.public(ids.Prefix.TURN, entry.turn_id) if entry.turn_id else None,
        "metric": entry.metric,
        "value": entry.value,
        "state": conversation.state.value,
        "consequence": consequence,
        "reason": reason,
    }


def _consequence(
    entry: RewardEntry, conversation: Conversation, teaching: Teaching | None, effect: Effect
) -> tuple[str, str | None]:
    """What the outcome will change, and why nothing where it changes nothing."""
    if effect is Effect.NONE:
        return "record_only", f"metric {entry.metric!r} does not enter the reward"
    if teaching is None or not teaching.can_teach:
        return "record_only", "the conversation has no turn that can teach"
    if effect is Effect.DEMONSTRATION:
        return "next_update", None
    if teaching.has_taught:
        return "relearn", None
    return ("next_update" if conversation.state is ConversationState.MATURED else "pending"), None

"""Whose each conversation is: those of one end user are no news of each other."""

from collections.abc import Sequence

from worker.replay.histories import History


def units_of(histories: Sequence[History]) -> dict[str, str]:
    """The conversation's end user, or the conversation itself where nobody said who it was; by transitions' name."""
    return {
        each.conversation.id.hex: f"conversation {each.conversation.id.hex}"
        if each.conversation.end_user is None
        else f"user {each.conversation.end_user}"
        for each in histories
    }

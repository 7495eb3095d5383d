"""Say how it went, withdraw it, and look after what could not be joined."""

from collections.abc import Sequence
from uuid import uuid4

from nock_client.call import Call, delete, get, given, part
from nock_client.shapes import Batch, DeadLetter, Feedback, Outcome, Page


def feedback(
    *,
    value: bool | float | str,
    conversation_id: str | None = None,
    turn_id: str | None = None,
    agent: str | None = None,
    metric: str | None = None,
    final: bool | None = None,
    idempotency_key: str | None = None,
    occurred_at: str | None = None,
    source: str | None = None,
    comment: str | None = None,
    supersedes: str | None = None,
) -> Call[Feedback]:
    """Say how a turn or a conversation went; durable once it is answered.

    Without an idempotency key one is made up, so that trying again counts once. Give your own (your event's id) where
    your program itself may be started again. `occurred_at` is RFC 3339 with a zone.
    """
    outcome = given(
        {
            "conversation_id": conversation_id,
            "turn_id": turn_id,
            "agent": agent,
            "metric": metric,
            "value": value,
            "final": final,
            "idempotency_key": idempotency_key or _made_up_key(),
            "occurred_at": occurred_at,
            "source": source,
            "comment": comment,
            "supersedes": supersedes,
        }
    )
    return Call("POST", "/feedback", body=outcome, repeatable=True)


def feedback_batch(entries: Sequence[Outcome]) -> Call[Batch]:
    """Up to 1,000 outcomes; look at each item's `status`: a bad one raises nothing and blocks no other."""
    keyed = [{**entry, "idempotency_key": entry.get("idempotency_key") or _made_up_key()} for entry in entries]
    return Call("POST", "/feedback/batch", body={"entries": keyed}, repeatable=True)


def retract(feedback_id: str) -> Call[Feedback]:
    """Withdraw an outcome. The ledger keeps both; a second time changes nothing."""
    return delete(f"/feedback/{part(feedback_id)}")


def dead_letters(*, after: str | None = None, limit: int | None = None) -> Call[Page[DeadLetter]]:
    """Outcomes that could not be joined, oldest first, with the reason."""
    return get("/feedback/dead-letters", after=after, limit=limit)


def retry_dead_letter(dead_letter_id: str) -> Call[Feedback]:
    """Try to join it now; it goes once it is stored."""
    return Call("POST", f"/feedback/dead-letters/{part(dead_letter_id)}/retry")


def _made_up_key() -> str:
    return f"nock_client-{uuid4()}"

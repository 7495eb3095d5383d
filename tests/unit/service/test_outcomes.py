"""What makes two requests the same one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from service.feedback.outcomes import Outcome

OUTCOME = Outcome(
    conversation_id="order-17",
    turn_id=None,
    agent=None,
    metric="resolved",
    value=True,
    final=False,
    idempotency_key="crm-1",
    occurred_at=datetime(2026, 11, 20, 9, tzinfo=UTC),
    source="crm",
    comment=None,
    supersedes=None,
)


def test_a_body_hashes_as_it_did_in_every_release() -> None:
    # Stored with each used key: another digest here and all retries of before an upgrade are refused.
    assert OUTCOME.body_hash.hex() == "c2609a8d0a21fd9ef8fb427fb12c4e33632f765afc3bb6bb8ebc13a9ac2c6945"


def test_the_same_moment_in_another_zone_is_the_same_body() -> None:
    there = datetime(2026, 11, 20, 10, tzinfo=timezone(timedelta(hours=1)))
    assert replace(OUTCOME, occurred_at=there).body_hash == OUTCOME.body_hash
    assert replace(OUTCOME, value=False).body_hash != OUTCOME.body_hash

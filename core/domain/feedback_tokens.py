"""Feedback tokens: who holds one may say one metric of one turn, until it expires. Nothing of them is stored."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from core.domain.errors import NotAuthenticatedError
from core.domain.signatures import Purpose, Signer

PREFIX = "nkf_"
LIFETIME = timedelta(days=7)
TURN_BYTES, EXPIRY_BYTES, SIGNATURE_BYTES = 16, 5, 32


@dataclass(frozen=True, slots=True)
class FeedbackToken:
    """What a token says. The metric is part of it, so that another one in the agent's file gives no old token more."""

    turn: UUID
    metric: str
    expires_at: datetime


def issue(signer: Signer, turn: UUID, metric: str, now: datetime) -> str:
    """`nkf_…`: turn, expiry in seconds, metric and signature as URL-safe base64 without padding."""
    expiry = int((now + LIFETIME).timestamp())
    signature = signer.sign(Purpose.FEEDBACK_TOKEN, *_signed(turn, metric, expiry))
    return _encode(turn.bytes + expiry.to_bytes(EXPIRY_BYTES) + metric.encode() + signature)


def read(signer: Signer, text: str, now: datetime) -> FeedbackToken:
    """What the token says. Raises NotAuthenticatedError for one that this deployment did not make, or that expired."""
    try:
        content = base64.urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
        turn, rest = UUID(bytes=content[:TURN_BYTES]), content[TURN_BYTES:]
        expiry, rest = int.from_bytes(rest[:EXPIRY_BYTES]), rest[EXPIRY_BYTES:]
        metric, signature = rest[:-SIGNATURE_BYTES].decode(), rest[-SIGNATURE_BYTES:]
    except (binascii.Error, ValueError) as error:
        raise _forged() from error
    # Decoding passes over what is no base64, and over bits that no byte holds: other texts of the same token.
    if text != _encode(content) or not signer.is_signed(
        signature, Purpose.FEEDBACK_TOKEN, *_signed(turn, metric, expiry)
    ):
        raise _forged()
    if expiry <= now.timestamp():
        raise NotAuthenticatedError("This feedback token has expired.", code="expired_feedback_token")
    return FeedbackToken(turn, metric, datetime.fromtimestamp(expiry, UTC))


def _signed(turn: UUID, metric: str, expiry: int) -> tuple[str, str, str]:
    return turn.hex, metric, str(expiry)


def _encode(content: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forged() -> NotAuthenticatedError:
    return NotAuthenticatedError("This feedback token is not valid.", code="invalid_feedback_token")

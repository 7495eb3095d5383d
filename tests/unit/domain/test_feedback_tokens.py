"""Feedback tokens: what was issued is read, whatever was changed in it is not, and time is an argument."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import NotAuthenticatedError
from core.domain.feedback_tokens import LIFETIME, PREFIX, FeedbackToken, issue, read
from core.domain.signatures import Purpose, Signer

SIGNER = Signer("a" * 32)
NOW = datetime(2026, 11, 26, 12, 0, 0, 900_000, tzinfo=UTC)
TURN = UUID(hex="0193" * 8)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def refusal(text: str, now: datetime = NOW, signer: Signer = SIGNER) -> str:
    with pytest.raises(NotAuthenticatedError) as caught:
        read(signer, text, now)
    return caught.value.code


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix(PREFIX) + "==")


@given(turn=st.uuids(), metric=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256))
def test_what_was_issued_is_read_again(turn: UUID, metric: str) -> None:
    token = issue(SIGNER, turn, metric, NOW)
    assert read(SIGNER, token, NOW) == FeedbackToken(turn, metric, (NOW + LIFETIME).replace(microsecond=0))


def test_a_token_is_short_and_fits_a_header_and_an_address() -> None:
    token = issue(SIGNER, TURN, "thumb", NOW)
    assert len(token) == 82
    assert set(token.removeprefix(PREFIX)) <= set(ALPHABET)
    assert issue(SIGNER, TURN, "よかった", NOW).isascii()


def test_a_token_lives_for_seven_days_and_not_a_second_more() -> None:
    token = issue(SIGNER, TURN, "thumb", NOW)
    end = (NOW + timedelta(days=7)).replace(microsecond=0)
    assert read(SIGNER, token, end - timedelta(microseconds=1)).expires_at == end
    assert refusal(token, end) == "expired_feedback_token"


def test_no_changed_byte_passes_and_none_of_them_is_told_that_it_expired() -> None:
    content = decoded(issue(SIGNER, TURN, "thumb", NOW))
    for place in range(len(content)):
        for bit in (1, 128):
            changed = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
            text = PREFIX + base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
            assert refusal(text, NOW + timedelta(days=8)) == "invalid_feedback_token"


@pytest.mark.parametrize("metric", ["a", "ab", "abc", "abcd"])
def test_a_token_has_one_spelling(metric: str) -> None:
    token = issue(SIGNER, TURN, metric, NOW)
    content = decoded(token)
    others = [token[:-1] + letter for letter in ALPHABET if letter != token[-1]]
    same_bytes = [text for text in others if decoded(text) == content]
    assert len(same_bytes) == {0: 0, 1: 15, 2: 3}[len(content) % 3]
    others += [f"{token}=", f"{token}==", f"{token}\n", f"{token[:20]}!{token[20:]}", f" {token}", token.upper()]
    others += [token.removeprefix(PREFIX), PREFIX + token, base64.b64encode(content).decode()]
    for text in others:
        assert refusal(text) == "invalid_feedback_token", text


@pytest.mark.parametrize("text", ["", "nkf_", "nkf_AAAA", "nkf_A", "nkf_ü", "nkf_\ud800", f"nkf_{'A' * 71}", "nk_x"])
def test_what_is_no_token_is_refused_as_one(text: str) -> None:
    assert refusal(text) == "invalid_feedback_token"


def test_parts_do_not_move_between_tokens_and_other_secrets_and_purposes_sign_nothing() -> None:
    thumb, stars = issue(SIGNER, TURN, "thumb", NOW), issue(SIGNER, TURN, "stars", NOW)
    mixed = decoded(thumb)[:-32] + decoded(stars)[-32:]
    assert refusal(PREFIX + base64.urlsafe_b64encode(mixed).rstrip(b"=").decode()) == "invalid_feedback_token"
    assert refusal(thumb, signer=Signer("b" * 32)) == "invalid_feedback_token"
    expiry = str(int.from_bytes(decoded(thumb)[16:21]))
    tombstone = decoded(thumb)[:-32] + SIGNER.sign(Purpose.TOMBSTONE, TURN.hex, "thumb", expiry)
    assert refusal(PREFIX + base64.urlsafe_b64encode(tombstone).rstrip(b"=").decode()) == "invalid_feedback_token"

"""Keyed hashes: the same for the same, another for another key, purpose or cut between parts."""

import hashlib
import hmac

from core.domain.signatures import Purpose, Signer

SIGNER = Signer("a" * 32)


def test_a_hash_is_the_hmac_of_the_purpose_and_the_parts_with_their_lengths() -> None:
    expected = hmac.new(b"a" * 32, b"9:tombstone4:demo3:ann", hashlib.sha256).digest()
    assert SIGNER.sign(Purpose.TOMBSTONE, "demo", "ann") == expected


def test_another_secret_purpose_or_cut_between_the_parts_gives_another_hash() -> None:
    signed = SIGNER.sign(Purpose.TOMBSTONE, "ab", "c")
    others = [
        Signer("b" * 32).sign(Purpose.TOMBSTONE, "ab", "c"),
        SIGNER.sign(Purpose.FEEDBACK_TOKEN, "ab", "c"),
        SIGNER.sign(Purpose.TOMBSTONE, "a", "bc"),
        SIGNER.sign(Purpose.TOMBSTONE, "abc"),
        SIGNER.sign(Purpose.TOMBSTONE, "ab", "c", ""),
    ]
    assert len({signed, *others}) == 6


def test_what_was_signed_is_known_again_and_a_changed_byte_is_not() -> None:
    signed = SIGNER.sign(Purpose.FEEDBACK_TOKEN, "\ud800 ünïcode", "1")
    assert SIGNER.is_signed(signed, Purpose.FEEDBACK_TOKEN, "\ud800 ünïcode", "1")
    assert not SIGNER.is_signed(signed[:-1] + bytes([signed[-1] ^ 1]), Purpose.FEEDBACK_TOKEN, "\ud800 ünïcode", "1")
    assert not SIGNER.is_signed(b"", Purpose.FEEDBACK_TOKEN)

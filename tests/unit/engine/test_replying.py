"""Text is released in whole characters, never with a piece of a stop string, and ends where it should."""

import pytest

from engine.replying import Ending, ReplyText
from tests.fixtures.tiny_model import byte_tokenizer

TOKENIZER = byte_tokenizer()
BACKEND = TOKENIZER.backend_tokenizer
EOS = TOKENIZER.eos_token_id


def reply_to(text: str, ending: Ending, *, eos: bool = False) -> tuple[list[str], ReplyText]:
    """Feed a text byte by byte; the pieces released, and the reply."""
    reply = ReplyText(BACKEND, [1, 2, 3], ending)
    pieces = []
    for token in [*BACKEND.encode(text).ids, *([EOS] if eos else [])]:
        reply.add(token)
        pieces.append(reply.release())
        if reply.finish_reason:
            break
    return pieces, reply


@pytest.mark.parametrize("text", ["Grüße", "你好", "a😀b", "naïve – “quoted”"])
def test_pieces_are_whole_characters_and_make_up_the_text(text: str) -> None:
    pieces, _ = reply_to(text, Ending(max_tokens=100))
    assert "".join(pieces) == text
    assert all(piece in text for piece in pieces)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_a_character_that_the_limit_cuts_in_half_is_left_out() -> None:
    pieces, reply = reply_to("a😀", Ending(max_tokens=3))
    assert "".join(pieces) == "a"
    assert (reply.finish_reason, reply.token_count) == ("length", 3)


def test_the_end_token_ends_the_reply_and_is_not_in_its_text() -> None:
    pieces, reply = reply_to("done", Ending(max_tokens=100, eos_token_id=EOS), eos=True)
    assert "".join(pieces) == "done"
    assert (reply.finish_reason, reply.stop_reason, reply.token_count) == ("stop", None, 5)


def test_a_stop_token_is_named_as_the_reason() -> None:
    stop = BACKEND.encode("!").ids[0]
    pieces, reply = reply_to("ab!c", Ending(max_tokens=100, stop_token_ids=frozenset({stop})))
    assert "".join(pieces) == "ab"
    assert (reply.finish_reason, reply.stop_reason) == ("stop", stop)


def test_a_stop_string_is_cut_off_and_no_piece_of_it_was_released() -> None:
    pieces, reply = reply_to("one\nUser: two", Ending(max_tokens=100, stop_strings=("\nUser:",)))
    assert "".join(pieces) == "one"
    assert (reply.finish_reason, reply.stop_reason) == ("stop", "\nUser:")
    assert not any("\n" in piece for piece in pieces)


def test_the_beginning_of_a_stop_string_is_released_once_it_turns_out_to_be_none() -> None:
    pieces, reply = reply_to("a\nUses", Ending(max_tokens=6, stop_strings=("\nUser:",)))
    assert "".join(pieces) == "a\nUses"
    assert reply.finish_reason == "length"


def test_of_two_stop_strings_the_one_that_is_complete_first_wins() -> None:
    _, reply = reply_to("abcdef", Ending(max_tokens=100, stop_strings=("cde", "bc")))
    assert (reply.text, reply.stop_reason) == ("a", "bc")


def test_a_stop_string_stays_when_it_was_asked_for() -> None:
    pieces, reply = reply_to("ab.c", Ending(max_tokens=100, stop_strings=(".",), include_stop_string=True))
    assert "".join(pieces) == reply.text == "ab."


def test_a_stop_string_within_the_least_length_is_part_of_the_text() -> None:
    _, reply = reply_to("a.b.c", Ending(max_tokens=100, min_tokens=3, stop_strings=(".",)))
    assert reply.text == "a.b"


def test_a_stop_string_on_the_last_allowed_token_counts_as_a_stop() -> None:
    _, reply = reply_to("ab.", Ending(max_tokens=3, stop_strings=(".",)))
    assert (reply.finish_reason, reply.text) == ("stop", "ab")


def test_bytes_that_are_no_text_do_not_break_the_reply() -> None:
    reply = ReplyText(BACKEND, [1], Ending(max_tokens=5000))
    for token in range(256):
        for other in (255 - token, token, 200):
            reply.add(other)
    assert reply.text
    reply.text.encode()

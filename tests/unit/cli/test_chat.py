"""Reading a streamed reply."""

import json

import pytest

from cli.chat import _lines, _piece
from cli.gateway import Refused


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False).encode() + b"\n\n"


def test_a_reply_keeps_characters_that_python_counts_as_line_ends() -> None:
    said = "one\x85two\u2028three\x0bfour\nfive"
    stream = event(said) + b"data: [DONE]\n\n"
    assert "".join(_piece(line) for line in _lines([stream])) == said


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_reply_survives_being_cut_anywhere_even_inside_a_character(size: int) -> None:
    stream = event("größer 🙂") + event("!")
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert "".join(_piece(line) for line in _lines(pieces)) == "größer 🙂!"


def test_an_error_in_the_stream_is_a_refusal() -> None:
    with pytest.raises(Refused, match=r"The engine went away\. \(502 engine_failed\)"):
        _piece(b'data: {"error": {"code": "engine_failed", "message": "The engine went away."}}')

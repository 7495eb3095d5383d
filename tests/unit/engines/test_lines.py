"""Lines out of bytes, however they are cut."""

import pytest

from core.domain.errors import EngineError
from core.engine.lines import MOST_LINE_BYTES, Lines


@pytest.mark.parametrize("size", range(1, 12))
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    text, lines, found = b"one\n\ntwo\r\nthree\n\n\nfour", Lines(), []
    for place in range(0, len(text), size):
        found += list(lines.add(text[place : place + size]))
    assert [*found, lines.rest()] == text.split(b"\n")


def test_what_is_left_is_given_once() -> None:
    lines = Lines()
    assert list(lines.add(b"one\ntwo")) == [b"one"]
    assert [lines.rest(), lines.rest()] == [b"two", b""]


def test_a_line_of_the_most_bytes_is_one_and_a_longer_one_is_refused_before_its_end() -> None:
    lines, piece = Lines(), b"x" * (MOST_LINE_BYTES // 8)
    for _ in range(8):
        assert list(lines.add(piece)) == []
    assert [len(line) for line in lines.add(b"\n")] == [MOST_LINE_BYTES]
    for _ in range(8):
        list(lines.add(piece))
    with pytest.raises(EngineError, match="without end"):
        list(lines.add(b"x"))


def test_many_lines_are_no_long_one() -> None:
    lines, piece = Lines(), b"x" * 1023 + b"\n"
    assert sum(len(list(lines.add(piece * 1024))) for _ in range(9)) == 9 * 1024

"""Where engines are said to be: what is understood, and what is refused with a sentence."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.domain.engine_sources import Listed, Resolved, Written, parse_lines, parse_sources
from core.settings import EngineSettings


def test_entries_of_each_kind_may_stand_side_by_side() -> None:
    text = " http://a:8000/ ,https://b.example/engine,dns+http://engines:8000, file:///etc/nock/engines.txt,"
    assert parse_sources(text) == (
        Listed("http://a:8000"),
        Listed("https://b.example/engine"),
        Resolved("engines", 8000),
        Written(Path("/etc/nock/engines.txt")),
    )
    assert parse_sources("http://[::1]:8000") == (Listed("http://[::1]:8000"),)


@pytest.mark.parametrize(
    "entry",
    [
        "engine:8000",
        "ftp://engine",
        "http://",
        "http://:8000",
        "http://engine:eight",
        "http://user:secret@engine",
        "http://engine:8000/v1",
        "http://engine:8000/v1/",
        "http://engine?x=1",
        "http://two words",
        "dns+http://engines",
        "dns+http://:8000",
        "dns+http://engines:8000/path",
        "dns+https://engines:8000",
        "file:engines.txt",
        "file://etc/nock/engines.txt",
        "file:",
    ],
)
def test_an_entry_that_makes_no_sense_ends_the_process_at_its_start_with_a_sentence(entry: str) -> None:
    with pytest.raises(ValidationError, match="engine_urls") as refused:
        EngineSettings(engine_urls=f"http://good:8000,{entry}")
    assert repr(entry) in str(refused.value)


def test_a_file_has_an_address_a_line_and_comments() -> None:
    text = "# ours\nhttp://a:8000\n\n  http://b:8000/   # the new one\n#http://c:8000\n"
    assert parse_lines(text) == ["http://a:8000", "http://b:8000"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "http://a:8000\nhttp:/", "http://a:8000\n\x00"])
def test_a_file_that_is_cut_or_empty_is_refused_whole(text: str) -> None:
    with pytest.raises(ValueError, match="engine"):
        parse_lines(text)

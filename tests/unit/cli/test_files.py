"""The files that commands read and write."""

from pathlib import Path

import pytest
import typer

from cli.agents import BadAgentFile, read_agent
from cli.feedback import parse_value
from cli.keys_file import read_keys, write_keys
from cli.up.own_secret import ensure_secret

SECRETS = {"chat": "nk_a", "feedback": "nk_b", "admin": "nk_c"}


def test_keys_come_back_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    write_keys(file, SECRETS)
    assert read_keys(file) == SECRETS
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_stack_makes_its_secret_once_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    made = ensure_secret(tmp_path / "secret")
    assert len(made) >= 32
    assert ensure_secret(tmp_path / "secret") == made
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert ensure_secret(tmp_path / "other") != made


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "\x00"])
def test_a_damaged_keys_file_holds_no_key(content: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(content)
    assert read_keys(tmp_path / "keys.json") == {}


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("1", 1.0), ("-0.5", -0.5), ("fine", "fine")]
)
def test_a_value_is_what_it_reads_as(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity"])
def test_a_value_must_be_finite(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_value(text)


def test_the_demo_agent_leaves_its_base_model_to_the_engine_and_its_learner_to_24_conversations() -> None:
    demo = read_agent(Path(__file__).parents[3] / "agents" / "demo.yaml")
    assert "base_model" not in demo
    assert demo["schedule"] == {"min_conversations": 24, "min_seconds": 900}
    assert demo["sampling"]["temperature"] == demo["sampling"]["top_p"] == 1.0


@pytest.mark.parametrize("content", ["", "- a list", "name: 3", "name: [", "system_prompt: no name"])
def test_a_file_that_is_no_agent_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(BadAgentFile, match=r"odd\.yaml"):
        read_agent(tmp_path / "odd.yaml")

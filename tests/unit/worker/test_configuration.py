"""What an agent's `learner` settings mean."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.fixtures.settings import ROOT
from worker.archer.config import ConfigError
from worker.archer.presets import PRESETS
from worker.configuration import RunConfiguration


def test_nothing_said_is_the_modern_preset_with_the_agents_discount() -> None:
    configuration = RunConfiguration.from_json({}, discount=0.5)
    assert configuration.archer == replace(PRESETS["modern"], gamma=0.5)
    assert configuration.preset == "modern"
    assert (configuration.replay.min_conversations, configuration.replay.max_conversations) == (8, 512)


def test_what_is_said_overrides_and_is_stored_whole() -> None:
    said = {"gamma": 0.9, "lora_rank": 4, "min_conversations": 2, "max_conversations": 16}
    configuration = RunConfiguration.from_json(said, discount=0.5)
    stored = configuration.to_json()
    assert said.items() <= stored.items()
    assert RunConfiguration.from_json(stored, discount=0.5) == configuration


@pytest.mark.parametrize("file", sorted((ROOT / "agents").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_agents_that_come_along_are_understood(file: Path) -> None:
    agent = yaml.safe_load(file.read_text())
    said = agent.get("learner", {})
    assert said.items() <= RunConfiguration.from_json(said, discount=0.95).to_json().items()


@pytest.mark.parametrize("preset", ["faithful", "modern", "offline"])
def test_a_preset_is_where_the_rest_begins_and_is_stored_with_its_name(preset: str) -> None:
    configuration = RunConfiguration.from_json({"preset": preset, "lora_rank": 4}, discount=0.5)
    assert configuration.archer == replace(PRESETS[preset], gamma=0.5, lora_rank=4)
    stored = configuration.to_json()
    assert stored["preset"] == preset
    assert RunConfiguration.from_json(stored, discount=0.9) == configuration


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"preset": "moderm"}, "preset is 'moderm'; it must be faithful or modern or offline"),
        ({"preset": None}, "preset is None; it must be faithful or modern or offline"),
        ({"preset": ["modern"]}, "preset is \\['modern'\\]"),
        ({"lora_rnak": 4}, "Unknown hyper-parameters: lora_rnak"),
        ({"lora_rank": "4"}, "lora_rank"),
        ({"min_conversations": 0}, "min_conversations is 0; it must be a whole number, 1 or more"),
        ({"min_conversations": True}, "min_conversations is True"),
        ({"max_conversations": 2.5}, "max_conversations is 2.5"),
        ({"user_share": 0}, "user_share is 0; it must be above 0, at most 1"),
        ({"source_share": 1.5}, "source_share is 1.5"),
        ({"reservoir_share": float("nan")}, "reservoir_share is nan; it must be a number, from 0 to 1"),
        ({"unfinished_share": "half"}, "unfinished_share is 'half'; it must be a number"),
        ({"outlier_spreads": -1}, "outlier_spreads is -1; it must be 0 or more, or null to trust all"),
        ({"max_outcome_weight": 0.5}, "max_outcome_weight is 0.5; it must be 1 or more"),
        ({"max_actor_staleness": 0}, "max_actor_staleness is 0; it must be a whole number, 1 or more"),
        ({"min_conversations": 9, "max_conversations": 8}, "it must be at least min_conversations, 9"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(said: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        RunConfiguration.from_json(said, discount=0.5)

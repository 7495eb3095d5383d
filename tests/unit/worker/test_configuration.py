"""What an agent's `learner` settings mean."""

import pytest

from worker.archer.config import ArcherConfig, ConfigError
from worker.configuration import RunConfiguration


def test_nothing_said_is_the_default_with_the_agents_discount() -> None:
    configuration = RunConfiguration.from_json({}, discount=0.5)
    assert configuration.archer == ArcherConfig(gamma=0.5)
    assert (configuration.min_conversations, configuration.max_conversations) == (8, 512)


def test_what_is_said_overrides_and_is_stored_whole() -> None:
    said = {"gamma": 0.9, "lora_rank": 4, "min_conversations": 2, "max_conversations": 16}
    configuration = RunConfiguration.from_json(said, discount=0.5)
    stored = configuration.to_json()
    assert said.items() <= stored.items()
    assert RunConfiguration.from_json(stored, discount=0.5) == configuration


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"lora_rnak": 4}, "Unknown hyper-parameters: lora_rnak"),
        ({"lora_rank": "4"}, "lora_rank"),
        ({"min_conversations": 0}, "min_conversations is 0; it must be a whole number, 1 or more"),
        ({"min_conversations": True}, "min_conversations is True"),
        ({"max_conversations": 2.5}, "max_conversations is 2.5"),
        ({"min_conversations": 9, "max_conversations": 8}, "it must be at least min_conversations, 9"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(said: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        RunConfiguration.from_json(said, discount=0.5)

"""Turns and demonstrations that cannot be learned from are refused by name."""

import pytest

from tests.fixtures.transitions import demonstration, turn
from worker.archer.types import TransitionError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": float("nan")}, "reward is nan"),
        ({"reward": float("inf")}, "reward is inf"),
        ({"weight": 0.0}, "weight is 0.0"),
        ({"weight": -1.0}, "weight is -1.0"),
        ({"weight": float("inf")}, "weight is inf"),
        ({"prompt_ids": ()}, "without prompt"),
        ({"completion_ids": (), "behaviour_logprobs": ()}, "without prompt or completion"),
        ({"behaviour_logprobs": (-1.0,)}, "2 tokens have 1 log-probs"),
        ({"behaviour_logprobs": (-1.0, float("-inf"))}, "not finite"),
        ({"behaviour_logprobs": (-1.0, 0.5)}, "positive"),
        ({"temperature": 0.0}, "temperature 0.0"),
    ],
)
def test_a_turn_that_the_actor_cannot_learn_from_is_refused(changes, message):
    with pytest.raises(TransitionError, match=message) as error:
        turn(episode="conv_7", **changes)
    assert "'conv_7'" in str(error.value)


def test_a_turn_for_the_critic_alone_needs_no_tokens():
    greedy = turn(trains_actor=False, prompt_ids=(), completion_ids=(), behaviour_logprobs=(), temperature=0.0)
    assert greedy.completion_ids == ()


@pytest.mark.parametrize("changes", [{"prompt_ids": ()}, {"completion_ids": ()}])
def test_a_demonstration_without_tokens_is_refused(changes):
    with pytest.raises(TransitionError, match="'conv_7' is without prompt or completion tokens"):
        demonstration(episode="conv_7", **changes)


@pytest.mark.parametrize(
    ("changes", "contradicts"),
    [
        ({"utterance": "good day", "instead": "hi"}, True),
        ({"utterance": "hi", "instead": "hi"}, False),  # whatever its tokens: a human may only have agreed
        ({"instead_ids": ()}, False),  # nothing that a critic of tokens could read
    ],
)
def test_a_demonstration_contradicts_where_another_reply_was_given_whose_tokens_are_known(changes, contradicts):
    assert demonstration(**changes).contradicts == contradicts

"""Where episodes end, and the rule for leaving the actor alone."""

import pytest

from tests.fixtures.transitions import dialogue, turn
from worker.archer.episodes import episode_ends, reason_to_leave_actor
from worker.archer.types import TransitionError


def reason(*dialogues):
    turns = [each for one in dialogues for each in one]
    return reason_to_leave_actor(turns, episode_ends(turns))


def test_an_episode_ends_where_its_name_does():
    turns = dialogue("a", (0.0, 1.0)) + dialogue("b", (1.0,))
    assert episode_ends(turns) == [False, True, True]


def test_an_episode_that_is_torn_apart_is_refused():
    with pytest.raises(TransitionError, match="given together"):
        episode_ends([turn(episode="a"), turn(episode="b"), turn(episode="a")])


def test_a_single_episode_teaches_the_actor_nothing():
    assert "single episode" in (reason(dialogue("a", (0.0, 1.0, 5.0))) or "")


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_equal_outcomes_teach_the_actor_nothing_even_over_different_lengths(value):
    assert reason(dialogue("a", (0.0, value)), dialogue("b", (0.0, 0.0, value))) == "all episodes were rewarded alike"


def test_turns_for_the_critic_alone_do_not_train_the_actor():
    turns = dialogue("a", (0.0,), trains_actor=False), dialogue("b", (1.0,), trains_actor=False)
    assert reason(*turns) == "no turn trains the actor"


@pytest.mark.parametrize(
    "rewards",
    [
        ((0.0, 1.0), (0.0, 0.0)),  # outcomes differ
        ((-1.0, 0.0), (-1.0, -1.0, 0.0)),  # equal turns, but the shorter dialogue costs less
        ((1.0, 0.0), (0.0, 1.0)),  # equal sums, earned by different turns
    ],
)
def test_any_difference_that_a_reply_could_have_made_does(rewards):
    assert reason(dialogue("a", rewards[0]), dialogue("b", rewards[1])) is None

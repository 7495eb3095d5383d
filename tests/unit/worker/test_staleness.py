"""Promotions between the version that spoke and the one that a run starts from."""

from uuid import UUID

from core.storage.models import RolloutEvent
from worker.replay.staleness import Age

BASE, ONE, TWO, NEVER = (UUID(int=number) for number in range(4))


def move(kind: str, before: UUID, after: UUID) -> RolloutEvent:
    return RolloutEvent(kind=kind, from_id=before, to_id=after)


PROMOTED_TWICE = [move("promote", BASE, ONE), move("promote", ONE, TWO)]


def ages(age: Age) -> list[int]:
    return [age.of(version) for version in (BASE, ONE, TWO)]


def test_each_promotion_since_a_version_served_makes_it_one_older() -> None:
    assert Age([], BASE).of(BASE) == 0
    assert ages(Age(PROMOTED_TWICE, TWO)) == [2, 1, 0]


def test_a_rollback_makes_nothing_older_and_the_version_it_returns_to_fresh() -> None:
    events = [*PROMOTED_TWICE, move("rollback", TWO, ONE)]
    assert ages(Age(events, ONE)) == [2, 0, 0]


def test_a_version_that_was_never_in_service_is_as_old_as_the_first() -> None:
    assert Age(PROMOTED_TWICE, TWO).summary([NEVER]) == {"mean": 2.0, "max": 2}


def test_a_version_on_trial_is_as_old_as_the_promotions_since_its_trial_ended() -> None:
    tried = [move("promote", BASE, ONE), move("canary", ONE, TWO), move("canary_end", ONE, TWO)]
    assert Age(tried[:2], ONE).of(TWO) == 0
    assert Age([*tried, move("promote", ONE, NEVER)], NEVER).of(TWO) == 1


def test_the_mean_is_over_turns() -> None:
    assert Age(PROMOTED_TWICE, TWO).summary([BASE, TWO, TWO, TWO]) == {"mean": 0.5, "max": 2}
    assert Age(PROMOTED_TWICE, TWO).summary([]) == {"mean": 0.0, "max": 0}

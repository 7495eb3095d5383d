"""What learned from what was erased, and which mark wins."""

from uuid import UUID, uuid4

from core.domain.erasure import ErasurePolicy, spread, strictest


def test_the_strictest_mark_wins_and_none_is_none() -> None:
    keep, retrain, retire = ErasurePolicy
    assert strictest([None, None]) is None
    assert strictest([None, keep]) is keep
    assert strictest([retrain, keep, None]) is retrain
    assert strictest([retrain, retire, keep]) is retire


def test_what_began_with_something_that_learned_has_learned_too_at_any_remove() -> None:
    first, second, third, beside = (uuid4() for _ in range(4))
    begins_with: dict[UUID, tuple[UUID | None, ...]] = {
        third: (second, None),
        second: (None, first),
        first: (),
        beside: (None,),
    }
    assert spread([first], begins_with) == {first, second, third}
    assert spread([second], begins_with) == {second, third}
    assert spread([], begins_with) == set()

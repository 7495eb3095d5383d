"""The chance of an outcome: by hand, between its bounds, and never in vain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.episodes import EpisodeEnd
from core.domain.outcome_chances import Decided, estimate_chances, kind_of


@pytest.mark.parametrize(
    ("turns", "kind"), [(0, "idle/0"), (1, "idle/1"), (2, "idle/2"), (3, "idle/2"), (4, "idle/4"), (7, "idle/4")]
)
def test_a_kind_is_how_it_ended_and_how_long_it_was_to_within_a_factor_of_two(turns: int, kind: str) -> None:
    assert kind_of(EpisodeEnd.IDLE, turns) == kind


def test_a_rare_kind_is_drawn_to_the_chance_of_all() -> None:
    chances = estimate_chances({"closed/2": Decided(72, 80), "idle/1": Decided(0, 18), "cap/16": Decided(0, 0)})
    overall = 73 / 100
    assert chances == pytest.approx({"closed/2": (72 + 7.3) / 90, "idle/1": 7.3 / 28, "cap/16": overall})


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.integers(0, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
        min_size=1,
    )
)
def test_every_chance_lies_between_none_and_certainty(counts: dict[str, tuple[int, int]]) -> None:
    chances = estimate_chances({kind: Decided(*each) for kind, each in counts.items()})
    assert chances.keys() == counts.keys()
    assert all(0 < chance < 1 for chance in chances.values())

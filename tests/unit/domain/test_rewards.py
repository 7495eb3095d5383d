"""The ledger's arithmetic, with the sums done by hand."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import rewards
from core.domain.errors import NotFoundError
from core.domain.metrics import Combine, Metric, MetricKind, Value
from core.domain.rewards import Entry, Fold, combine, effective, rewards_of_turns

FIRST, SECOND = UUID(int=101), UUID(int=102)


def entry(
    number: int,
    value: Value | None,
    *,
    turn: UUID | None = None,
    metric: str = "reward",
    source: str = "crm",
    supersedes: int | None = None,
    retracts: int | None = None,
) -> Entry:
    return Entry(
        UUID(int=number),
        turn,
        metric,
        source,
        value,
        None if supersedes is None else UUID(int=supersedes),
        None if retracts is None else UUID(int=retracts),
    )


def fold(entries: list[Entry], metrics: list[Metric], *, waited: timedelta | None = None) -> Fold:
    return rewards.fold(entries, metrics, waited=waited)


def numbers(entries: list[Entry]) -> list[int]:
    return [one.id.int for one in effective(entries)]


def test_of_one_source_the_latest_entry_counts() -> None:
    assert numbers([entry(1, 0.0), entry(2, 1.0), entry(3, 0.5, source="user")]) == [2, 3]


def test_targets_and_metrics_do_not_replace_one_another() -> None:
    entries = [entry(1, 0.0), entry(2, 1.0, turn=FIRST), entry(3, 1.0, turn=SECOND), entry(4, 1.0, metric="mood")]
    assert numbers(entries) == [1, 2, 3, 4]


def test_the_ledgers_order_decides_and_not_the_ids() -> None:
    assert numbers([entry(9, 0.0), entry(1, 1.0)]) == [1]


def test_a_superseded_entry_is_gone_and_one_that_stood_before_it_stands_behind_its_correction() -> None:
    assert numbers([entry(1, 0.0), entry(2, 1.0, supersedes=1)]) == [2]
    assert numbers([entry(1, 0.0), entry(2, 1.0), entry(3, 0.5, supersedes=1)]) == [3]


def test_a_retraction_brings_back_what_stood_before() -> None:
    assert numbers([entry(1, 0.0), entry(2, 1.0), entry(3, None, retracts=2)]) == [1]
    assert numbers([entry(1, 0.0), entry(2, None, retracts=1)]) == []


def test_a_correction_of_another_source_takes_the_first_ones_place() -> None:
    assert numbers([entry(1, 0.0, source="user"), entry(2, 1.0, source="crm", supersedes=1)]) == [2]


def test_turn_and_conversation_values_add_up_to_the_return() -> None:
    folded = fold([entry(1, 0.25, turn=FIRST), entry(2, 0.5, turn=SECOND), entry(3, 1.0)], [])
    assert folded.of_turn == {FIRST: 0.25, SECOND: 0.5}
    assert folded.of_conversation == 1.0
    assert folded.total == 1.75


def test_nothing_known_is_not_zero() -> None:
    assert fold([], []).total is None
    assert fold([entry(1, "nice", metric="note")], [Metric("note", MetricKind.COMMENT)]).total is None
    assert fold([entry(1, 0.0)], []).total == 0.0


def test_metrics_are_weighted_and_booleans_count_as_one_and_zero() -> None:
    metrics = [Metric("resolved", MetricKind.BOOLEAN, weight=2.0), Metric("stars", weight=0.1)]
    folded = fold([entry(1, True, metric="resolved"), entry(2, 4.0, metric="stars")], metrics)
    assert folded.of_conversation == pytest.approx(2.4)  # 2 · 1 + 0.1 · 4
    assert folded.metrics == {"resolved", "stars"}
    assert fold([entry(1, False, metric="resolved")], metrics).of_conversation == 0.0


def test_a_weight_of_zero_and_a_dropped_metric_count_nothing() -> None:
    assert fold([entry(1, 1.0, metric="stars")], [Metric("stars", weight=0.0)]) == Fold()
    assert fold([entry(1, 1.0, metric="dropped")], []) == Fold()


@pytest.mark.parametrize(
    ("how", "expected"), [(Combine.MEAN, 2.0), (Combine.SUM, 6.0), (Combine.LAST, 2.0), (Combine.MAX, 3.0)]
)
def test_sources_are_combined_as_the_metric_says(how: Combine, expected: float) -> None:
    assert combine([1.0, 3.0, 2.0], how) == expected
    entries = [entry(1, 1.0, source="a"), entry(2, 3.0, source="b"), entry(3, 2.0, source="c")]
    assert fold(entries, [Metric("reward", combine=how)]).of_conversation == expected


def test_the_last_source_is_the_one_that_spoke_last_even_if_it_spoke_before() -> None:
    entries = [entry(1, 1.0, source="a"), entry(2, 2.0, source="b"), entry(3, 3.0, source="a")]
    assert fold(entries, [Metric("reward", combine=Combine.LAST)]).of_conversation == 3.0


def test_the_conversations_own_reward_is_paid_after_the_last_turn() -> None:
    folded = Fold({FIRST: 0.5}, 2.0)
    assert rewards_of_turns(folded, [FIRST, SECOND]) == [0.5, 2.0]
    assert rewards_of_turns(folded, [FIRST]) == [2.5]
    assert rewards_of_turns(Fold(), [FIRST, SECOND]) == [0.0, 0.0]
    with pytest.raises(NotFoundError):
        rewards_of_turns(folded, [])


@given(st.lists(st.tuples(st.sampled_from([FIRST, SECOND, None]), st.floats(-10, 10)), min_size=1, max_size=12))
def test_what_is_paid_adds_up_to_what_was_earned(values: list[tuple[UUID | None, float]]) -> None:
    entries = [entry(place + 1, value, turn=turn) for place, (turn, value) in enumerate(values)]
    folded = fold(entries, [])
    assert folded.total is not None
    assert sum(rewards_of_turns(folded, [FIRST, SECOND])) == pytest.approx(folded.total)


HOUR = timedelta(hours=1)
SALE = Metric("sale", weight=2.0, window_seconds=3600.0, missing=0.25)


def test_what_is_missing_means_nothing_before_its_window_has_passed_and_what_the_metric_says_after() -> None:
    for waited in (None, timedelta(0), HOUR - timedelta(microseconds=1)):
        assert fold([], [SALE], waited=waited) == Fold()
    assert fold([], [SALE], waited=HOUR) == Fold({}, 2.0 * 0.25, frozenset({"sale"}), frozenset({"sale"}))


def test_a_value_that_was_given_is_never_replaced_by_what_its_absence_means() -> None:
    given = [entry(1, 1.0, metric="sale"), entry(2, 0.5, metric="sale", turn=FIRST)]
    for lines in (given[:1], given[1:]):
        folded = fold(lines, [SALE], waited=HOUR)
        assert folded.assumed == frozenset()
        assert folded.total == fold(lines, [SALE]).total


def test_a_retracted_value_is_missing_again() -> None:
    folded = fold([entry(1, 1.0, metric="sale"), entry(2, None, metric="sale", retracts=1)], [SALE], waited=HOUR)
    assert folded.total == 0.5


def test_false_may_be_what_a_missing_boolean_means_and_counts_as_zero() -> None:
    resolved = Metric("resolved", MetricKind.BOOLEAN, window_seconds=0.0, missing=False)
    assert fold([], [resolved], waited=timedelta(0)).total == 0.0
    unknown = Metric("resolved", MetricKind.BOOLEAN, window_seconds=0.0)
    assert fold([], [unknown], waited=timedelta(0)).total is None


def test_a_metric_that_enters_no_reward_assumes_nothing() -> None:
    recorded = Metric("sale", weight=0.0, window_seconds=0.0, missing=1.0)
    assert fold([], [recorded], waited=HOUR) == Fold()

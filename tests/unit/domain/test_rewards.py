"""The ledger's arithmetic, with the sums done by hand."""

import math
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import InvalidValueError, NotFoundError
from core.domain.rewards import (
    REWARD,
    Combine,
    Entry,
    Fold,
    Metric,
    MetricKind,
    Value,
    check_value,
    combine,
    effective,
    find_metric,
    fold,
    is_known,
    rewards_of_turns,
)

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


def test_an_outcome_is_known_once_every_required_metric_has_a_value() -> None:
    metrics = [Metric("resolved"), Metric("stars"), Metric("mood", required=False), Metric("note", MetricKind.COMMENT)]
    assert not is_known(Fold(metrics=frozenset({"resolved", "mood"})), metrics)
    assert is_known(Fold(metrics=frozenset({"resolved", "stars"})), metrics)


def test_without_required_metrics_any_value_will_do() -> None:
    assert is_known(Fold(metrics=frozenset({"reward"})), [])
    assert is_known(Fold(metrics=frozenset({"mood"})), [Metric("mood", required=False)])
    assert not is_known(Fold(), [])


def test_every_agent_has_reward_and_may_declare_its_own() -> None:
    assert find_metric([], "reward") == REWARD
    own = Metric("reward", low=0.0, high=1.0)
    assert find_metric([own], "reward") == own
    with pytest.raises(InvalidValueError, match="no metric 'mood'") as refused:
        find_metric([own], "mood")
    assert (refused.value.code, refused.value.param) == ("unknown_metric", "metric")


RATED = Metric("stars", low=1.0, high=5.0)
SOLVED = Metric("resolved", MetricKind.BOOLEAN)
NOTE = Metric("note", MetricKind.COMMENT)


@pytest.mark.parametrize(
    ("metric", "value", "kept"),
    [(RATED, 1, 1.0), (RATED, 5.0, 5.0), (SOLVED, True, True), (NOTE, "fine", "fine"), (REWARD, -1e9, -1e9)],
)
def test_a_value_that_fits_is_kept_in_the_metrics_type(metric: Metric, value: object, kept: Value) -> None:
    assert check_value(metric, value) == kept
    assert type(check_value(metric, value)) is type(kept)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (RATED, 0.9),
        (RATED, 5.1),
        (RATED, True),
        (RATED, "5"),
        (RATED, None),
        (REWARD, math.nan),
        (REWARD, math.inf),
        (REWARD, -math.inf),
        (REWARD, 10**400),
        (REWARD, [1.0]),
        (SOLVED, 1),
        (SOLVED, "true"),
        (NOTE, 1.0),
        (NOTE, "  "),
    ],
)
def test_a_value_that_does_not_fit_is_refused(metric: Metric, value: object) -> None:
    with pytest.raises(InvalidValueError) as refused:
        check_value(metric, value)
    assert refused.value.param == "value"

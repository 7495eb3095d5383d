"""What an agent demands of a version, and what of each conversation a trial looks at."""

import pytest

from core.domain.errors import InvalidValueError
from core.domain.gates import Gates, Measure, Promotion, horizon_seconds, measures_of
from core.domain.metrics import Combine, Direction, Level, Metric, MetricKind

SOLVED = Metric("solved", MetricKind.BOOLEAN, level=Level.CONVERSATION)
ANGER = Metric("anger", low=0, high=10, weight=0, guard=True, direction=Direction.LOWER, level=Level.CONVERSATION)


def test_what_is_not_said_is_a_trial_by_hand_in_three_stages() -> None:
    assert Gates.from_json({}) == Gates()
    assert (Gates().promotion, Gates().ramp) == (Promotion.MANUAL, (0.05, 0.25, 0.5))


def test_demands_come_back_from_json_as_they_were() -> None:
    gates = Gates(promotion=Promotion.AUTO, ramp=(0.2,), margins={"anger": 1.5}, reward_range=(-2.0, 3.0), holdout=0.1)
    assert Gates.from_json(gates.to_json()) == gates


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"ramp": []}, "gates.ramp"),
        ({"ramp": [0.5, 0.1]}, "gates.ramp"),
        ({"ramp": [0.1, 0.1]}, "gates.ramp"),
        ({"ramp": [1.0]}, "gates.ramp"),
        ({"reward_range": [1, 1]}, "gates.reward_range"),
        ({"patience": 3}, "gates"),
    ],
)
def test_demands_that_make_no_sense_are_refused(values: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Gates.from_json(values)
    assert refused.value.param == param


def test_the_return_has_the_range_of_what_is_paid_once_a_conversation() -> None:
    cost = Metric("cost", weight=-0.5, low=0, high=4, level=Level.CONVERSATION, direction=Direction.LOWER)
    assert measures_of(Gates(), [SOLVED, cost]) == [Measure("return", -2.0, 1.0, 1, None)]


@pytest.mark.parametrize(
    "metric",
    [
        Metric("reward"),
        Metric("thumb", MetricKind.BOOLEAN, level=Level.TURN),
        Metric("thumb", MetricKind.BOOLEAN),
        Metric("points", low=0, high=1, level=Level.CONVERSATION, combine=Combine.SUM),
    ],
)
def test_what_may_be_paid_without_end_gives_the_return_no_range(metric: Metric) -> None:
    assert measures_of(Gates(), [SOLVED, metric])[0].width is None
    assert measures_of(Gates(reward_range=(0, 3)), [SOLVED, metric])[0].width == 3


def test_a_guard_may_fall_by_a_share_of_its_range_or_by_what_is_said() -> None:
    guard = measures_of(Gates(), [SOLVED, ANGER])[1]
    assert (guard.name, guard.margin, guard.sign) == ("anger", pytest.approx(0.5), -1)
    assert measures_of(Gates(margins={"anger": 1.5}), [SOLVED, ANGER])[1].margin == 1.5


def test_a_guard_without_a_range_and_a_margin_of_no_guard_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="no range"):
        measures_of(Gates(), [Metric("speed", guard=True)])
    with pytest.raises(InvalidValueError, match="no guard"):
        measures_of(Gates(margins={"solved": 0.1}), [SOLVED])


def test_a_margin_as_wide_as_the_range_would_guard_nothing_and_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="below its range"):
        measures_of(Gates(margins={"anger": 10}), [SOLVED, ANGER])


def test_a_value_is_cut_to_its_range_and_turned_so_that_higher_is_better() -> None:
    guard = measures_of(Gates(), [SOLVED, ANGER])[1]
    assert [guard.oriented(value) for value in (-1, 4, 11)] == [0, -4, -10]
    assert Measure("return", None, None, 1, None).oriented(-40.0) == -40.0


def test_a_unit_waits_for_the_longest_window_of_what_is_looked_at() -> None:
    guard = Metric("anger", weight=0, guard=True, window_seconds=50)
    ignored = Metric("note", weight=0, window_seconds=900)
    assert horizon_seconds([Metric("solved", window_seconds=20), guard, ignored], idle_seconds=7) == 57
    assert horizon_seconds([], idle_seconds=0) == 7 * 86_400

"""Ids: sortable inside, prefixed outside, and never taken for one another."""

from datetime import UTC, datetime, timedelta

import pytest

from core.domain.ids import Prefix, first_id_at, new_id, parse, public


def test_later_ids_sort_after_earlier_ones() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert {value.version for value in ids} == {7}


@pytest.mark.parametrize("prefix", Prefix)
def test_a_public_id_comes_back_as_what_it_was(prefix: Prefix) -> None:
    value = new_id()
    assert public(prefix, value) == f"{prefix.value}_{value.hex}"
    assert parse(prefix, public(prefix, value)) == value


HEX = "0" * 31 + "a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "turn",
        "turn_",
        f"conv_{HEX}",
        HEX,
        f"turn_{HEX[:-1]}",
        f"turn_{HEX}0",
        f"turn_{HEX.upper()}",
        f"turn_+{HEX[1:]}",
    ],
)
def test_what_is_no_id_of_the_kind_is_none(text: str) -> None:
    assert parse(Prefix.TURN, f"turn_{HEX}") is not None
    assert parse(Prefix.TURN, text) is None


def test_the_first_id_at_a_time_lies_between_what_was_made_before_and_after() -> None:
    now = datetime.now(UTC)
    assert (
        first_id_at(now - timedelta(milliseconds=5)) < new_id() < first_id_at(datetime.now(UTC) + timedelta(seconds=1))
    )

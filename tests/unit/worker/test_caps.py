"""How much one name may hold of what is drawn."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.replay.caps import Cap, capped


def first_letter(item: str) -> str | None:
    return None if item.startswith("-") else item[0]


def test_one_of_many_keeps_its_share_and_the_first_ones_stay() -> None:
    items = [f"a{place}" for place in range(60)] + [f"-{place}" for place in range(140)]
    kept = capped(items, 100, Cap(0.05, first_letter))
    assert kept == [f"a{place}" for place in range(5)] + [f"-{place}" for place in range(95)]


def test_where_few_take_part_each_may_have_twice_an_equal_share() -> None:
    items = [f"a{place}" for place in range(90)] + ["b", "c", "d", "e"]
    assert Counter(item[0] for item in capped(items, 100, Cap(0.02, first_letter)))["a"] == 37  # 2 · 94 / 5
    assert capped(["a1", "a2", "a3"], 3, Cap(0.02, first_letter)) == ["a1", "a2", "a3"]


def test_what_has_no_name_is_never_capped_and_makes_the_others_fewer() -> None:
    unnamed = [f"-{place}" for place in range(97)]
    assert capped(["a1", "a2", "a3", *unnamed], 100, Cap(0.01, first_letter)) == ["a1", "a2", *unnamed]  # 2 · 100 / 98


def test_a_place_that_one_cap_takes_away_counts_for_no_other() -> None:
    by_letter, by_number = Cap(0.01, first_letter), Cap[str](0.01, lambda item: item[1:])
    items = ["a1", "a2", "a3", "b3", "c3", "d3", *(f"{chr(110 + place)}{place + 10}" for place in range(20))]
    assert capped(items, 26, by_letter, by_number)[:5] == ["a1", "a2", "b3", "c3", "n10"]  # two of each at most


def test_nothing_gives_nothing() -> None:
    assert capped([], 10, Cap(0.5, first_letter)) == []


@given(st.lists(st.text("abc-", min_size=1, max_size=2)), st.integers(0, 30), st.floats(0.01, 1))
def test_what_is_kept_stands_in_its_order_and_within_every_bound(items: list[str], most: int, share: float) -> None:
    kept = capped(items, most, Cap(share, first_letter))
    assert len(kept) <= most
    remaining = iter(items)
    assert all(item in remaining for item in kept)
    names = {first_letter(item) for item in items} - {None}
    different = len(names) + sum(first_letter(item) is None for item in items)
    drawn = min(most, len(items))
    limit = max(1, int(share * drawn), int(2 * drawn / different) if different else 0)
    counted = Counter(first_letter(item) for item in kept)
    assert all(counted[name] <= limit for name in names)

"""Which engine takes a conversation: the same one each time, fairly drawn, and another one only where it is busy."""

from collections import Counter
from uuid import UUID

import pytest

from core.engine.affinity import MORE, SHARE, in_order

URLS = [f"http://engine-{number}:8000" for number in range(4)]
TALKS = [UUID(int=number * 7919) for number in range(2000)]
IDLE = dict.fromkeys(URLS, 0)


def test_a_conversation_meets_the_same_engine_whatever_the_order_they_are_listed_in() -> None:
    backwards = dict.fromkeys(reversed(URLS), 0)
    assert all(in_order(IDLE, talk) == in_order(backwards, talk) for talk in TALKS[:50])


def test_conversations_spread_evenly() -> None:
    counts = Counter(in_order(IDLE, talk)[0] for talk in TALKS)
    assert set(counts) == set(URLS)
    assert max(counts.values()) < 1.15 * len(TALKS) / len(URLS)


def test_an_engine_that_goes_moves_only_its_own_conversations() -> None:
    left = {url: 0 for url in URLS if url != URLS[2]}
    for talk in TALKS[:300]:
        before = in_order(IDLE, talk)
        assert in_order(left, talk) == [url for url in before if url != URLS[2]]


@pytest.mark.parametrize("least", [0, 3, 40])
def test_an_engine_keeps_its_conversations_up_to_the_bound_and_not_beyond(least: int) -> None:
    most = int(max(least + MORE, least * (1 + SHARE)))
    for talk in TALKS[:20]:
        first, second, *_ = in_order(IDLE, talk)
        load = dict.fromkeys(URLS, least)
        assert in_order(load | {first: most}, talk)[0] == first
        assert in_order(load | {first: most + 1}, talk)[0] == second
        assert set(in_order(load | {first: most + 1}, talk)) == set(URLS), "busy ones come last, for a retry"


def test_a_turn_without_conversation_goes_where_least_is_under_way() -> None:
    assert in_order({URLS[0]: 3, URLS[1]: 1, URLS[2]: 2}, None) == [URLS[1], URLS[2], URLS[0]]

"""Which turns share a row, what is cut, what goes together."""

import pytest
import torch

from tests.fixtures.transitions import dialogue, turn
from worker.archer.rows import Row, Span, actor_batches, build_rows, build_table, collate, micro_batches, spread

CPU = torch.device("cpu")


def test_turns_whose_prompts_grow_from_one_another_share_a_row():
    first = turn(prompt_ids=(1, 2), completion_ids=(3,), behaviour_logprobs=(-1.0,))
    second = turn(prompt_ids=(1, 2, 3, 9), completion_ids=(4, 5), behaviour_logprobs=(-1.0, -1.0))
    assert build_rows([first, second], 100) == [Row((1, 2, 3, 9, 4, 5), (Span(2, 3, 0), Span(4, 6, 1)))]


def test_a_prompt_that_was_rendered_otherwise_gets_its_own_row():
    first = turn(prompt_ids=(1, 2), completion_ids=(3,), behaviour_logprobs=(-1.0,))
    second = turn(prompt_ids=(1, 2, 8, 9), completion_ids=(4,), behaviour_logprobs=(-1.0,))
    assert [row.ids for row in build_rows([first, second], 100)] == [(1, 2, 3), (1, 2, 8, 9, 4)]


def test_only_turns_that_train_the_actor_have_rows_but_all_count_in_the_table():
    turns = [turn(trains_actor=False), turn()]
    assert len(build_rows(turns, 100)) == 1
    assert build_table(turns, CPU).turn.tolist() == [1, 1]


def test_a_prompt_is_cut_on_the_left_and_a_reply_never():
    long = turn(prompt_ids=tuple(range(100)), completion_ids=tuple(range(50)), behaviour_logprobs=(-1.0,) * 50)
    (row,) = build_rows([long], 3)
    assert row.ids == (97, 98, 99, *range(50))
    assert row.spans == (Span(3, 53, 0),)


def test_micro_batches_hold_like_lengths_within_the_budget():
    rows = [Row(tuple(range(length)), ()) for length in (3, 9, 4, 10, 30)]
    batches = micro_batches(rows, 20)
    assert [[len(row.ids) for row in batch] for batch in batches] == [[30], [10, 9], [4, 3]]
    assert all(len(batch) == 1 or len(batch) * len(batch[0].ids) <= 20 for batch in batches)


def test_every_row_is_in_one_step_of_a_pass():
    rows = build_rows([each for name in "abcdefg" for each in dialogue(name, (0.0, 1.0))], 100)
    batches = actor_batches(rows, 4, torch.Generator().manual_seed(0))
    assert [sum(len(row.spans) for row in batch) for batch in batches] == [4, 4, 4, 2]
    assert sorted(row.ids for batch in batches for row in batch) == sorted(row.ids for row in rows)
    assert actor_batches(rows, 14, torch.Generator()) == [rows]


def test_the_logits_before_each_completion_token_are_the_ones_that_predict_it():
    rows = [Row((1, 2, 3, 9, 4, 5), (Span(2, 3, 0), Span(4, 6, 1))), Row((6, 7, 8), (Span(1, 3, 3),))]
    batch = collate(rows, CPU)
    assert batch.ids.tolist() == [[1, 2, 3, 9, 4, 5], [6, 7, 8, 0, 0, 0]]
    assert batch.predicts.nonzero().tolist() == [[0, 1], [0, 3], [0, 4], [1, 0], [1, 1]]
    assert batch.targets.tolist() == [3, 4, 5, 7, 8]
    assert batch.table.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 5])
def test_the_table_follows_the_rows(count):
    turns = [each for name in "abcde"[:count] for each in dialogue(name, (0.0, 0.0, 1.0))]
    table = build_table(turns, CPU)
    for row in build_rows(turns, 100):
        for span in row.spans:
            places = range(span.table, span.table + span.end - span.start)
            (place,) = set(table.turn[list(places)].tolist())
            assert row.ids[span.start : span.end] == turns[place].completion_ids


def test_rows_are_spread_over_shares_as_equal_as_can_be_each_once():
    rows = [Row((number,), ()) for number in range(7)]
    shares = spread(rows, 3, torch.Generator().manual_seed(0))
    assert [len(share) for share in shares] == [3, 2, 2]
    assert sorted(row.ids for share in shares for row in share) == [row.ids for row in rows]
    assert sorted(map(len, spread(rows[:2], 5, torch.Generator().manual_seed(0)))) == [0, 0, 0, 1, 1]


def test_one_share_is_all_rows_as_they_come_and_draws_no_lot():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    rows = [Row((number,), ()) for number in range(7)]
    assert spread(rows, 1, generator) == [rows]
    assert torch.equal(before, generator.get_state())

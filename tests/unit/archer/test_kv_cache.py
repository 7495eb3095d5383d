"""The cache gives back what was put in, in order, whatever room it makes."""

import torch
from torch.testing import assert_close

from worker.archer.kv_cache import ROOM, roomy_cache


def states(rows, length, seed):
    return torch.randn(rows, 2, length, 4, generator=torch.Generator().manual_seed(seed))


def test_appending_is_concatenation_over_many_rooms():
    cache, known = roomy_cache(), []
    for step, length in enumerate([3, 1, 1, ROOM, 1, 2 * ROOM + 5, 1]):
        known.append((states(2, length, step), states(2, length, 100 + step)))
        keys, values = cache.update(*known[-1], 0)
        assert torch.equal(keys, torch.cat([key for key, _ in known], dim=2))
        assert torch.equal(values, torch.cat([value for _, value in known], dim=2))
    assert cache.get_seq_length() == 3 * ROOM + 12


def test_layers_have_rooms_of_their_own():
    cache = roomy_cache()
    cache.update(states(1, 2, 0), states(1, 2, 1), 0)
    keys, _ = cache.update(states(1, 2, 2), states(1, 2, 3), 1)
    assert torch.equal(keys, states(1, 2, 2))
    assert torch.equal(cache.layers[0].keys, states(1, 2, 0))


def test_what_was_given_back_before_is_not_written_over():
    cache = roomy_cache()
    first, _ = cache.update(states(1, 2, 0), states(1, 2, 1), 0)
    cache.update(states(1, 3, 2), states(1, 3, 3), 0)
    assert torch.equal(first, states(1, 2, 0))


def test_chosen_rows_go_on_alone():
    cache = roomy_cache()
    cache.update(states(3, 5, 0), states(3, 5, 1), 0)
    cache.batch_select_indices(torch.tensor([2, 0]))
    keys, values = cache.update(states(2, 1, 2), states(2, 1, 3), 0)
    assert_close(keys, torch.cat([states(3, 5, 0)[[2, 0]], states(2, 1, 2)], dim=2))
    assert_close(values, torch.cat([states(3, 5, 1)[[2, 0]], states(2, 1, 3)], dim=2))


def test_appending_within_the_room_does_not_move_what_is_there():
    cache = roomy_cache()
    cache.update(states(1, 2, 0), states(1, 2, 1), 0)
    before, _ = cache.update(states(1, 1, 2), states(1, 1, 3), 0)
    after, _ = cache.update(states(1, 1, 4), states(1, 1, 5), 0)
    assert before.data_ptr() == after.data_ptr()

"""What a process takes of a step; that several come to the same is in tests/integration/worker/test_processes.py."""

from dataclasses import replace

import pytest
from torch import nn, tensor

from worker.archer.actor import Actor
from worker.archer.critic import build_critic
from worker.archer.learner import Learner
from worker.archer.processes import ALONE, Processes


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ("abcd", [[("a", 1.0), ("c", 1.0)], [("b", 1.0), ("d", 1.0)]]),
        ("abc", [[("a", 1.0), ("c", 1.0)], [("b", 1.0), ("c", 0.0)]]),  # both run two, and c counts once
        ("a", [[("a", 1.0)], [("a", 0.0)]]),
        ("", [[], []]),
    ],
)
def test_each_process_runs_as_many_parts_and_each_part_counts_once(parts, shares):
    assert [Processes(index, 2).share(parts) for index in (0, 1)] == shares


def test_two_parts_are_enough_for_five_processes():
    shares = [Processes(index, 5).share("ab") for index in range(5)]
    assert [len(share) for share in shares] == [1] * 5
    assert sum(weight for [(_, weight)] in shares) == 2.0


def test_one_process_alone_takes_everything_and_changes_nothing():
    values, weight = tensor([1.0, 2.0]), nn.Parameter(tensor([1.0]))
    weight.grad = tensor([3.0])
    model = nn.Linear(1, 1)
    assert ALONE.is_main
    assert ALONE.share("abc") == [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    assert ALONE.total(values) is values
    assert ALONE.same(values) is values
    assert ALONE.sum_gradients([weight], 0.5) == 0.5
    assert weight.grad == 3.0
    ALONE.shard(model)
    assert type(model) is nn.Linear


def test_only_the_first_process_is_the_main_one():
    assert [Processes(index, 3).is_main for index in range(3)] == [True, False, False]


def test_processes_that_would_run_the_model_unequally_often_are_refused(model_folder, config):
    chosen = replace(config, critic_reader="policy", critic_encoding="split", train_reader=True)
    actor = Actor.from_pretrained(model_folder, chosen)
    with pytest.raises(ValueError, match="only if joint"):
        Learner(actor, build_critic(actor, None, chosen), chosen, processes=Processes(0, 2))

"""One step: parts add up, networks are clipped apart, what is not finite is not applied."""

import pytest
import torch
from torch import nn, tensor
from torch.testing import assert_close

from worker.archer.descent import NonFiniteUpdateError, descend


def weight(*values):
    return nn.Parameter(tensor(values))


def sgd(*parameters):
    return torch.optim.SGD(parameters, lr=1.0)


def test_partial_losses_add_up_to_one_step():
    w = weight(1.0, 2.0)
    step = descend(sgd(w), (part * w.sum() for part in (0.25, 0.5)), 100.0, whose="actor", episodes=["a"])
    assert_close(w.detach(), tensor([0.25, 1.25]))  # each minus 0.75
    assert step is not None
    assert step.loss == pytest.approx(2.25)  # 0.75 * 3
    assert step.grad_norm == pytest.approx(0.75 * 2**0.5)


def test_the_norm_is_clipped_and_reported_unclipped():
    w = weight(0.0, 0.0)
    step = descend(sgd(w), [(w * tensor([3.0, 4.0])).sum()], 1.0, whose="actor", episodes=["a"])
    assert step is not None
    assert step.grad_norm == pytest.approx(5.0)
    assert_close(w.detach(), tensor([-0.6, -0.8]), rtol=1e-4, atol=1e-5)


def test_a_stale_gradient_of_another_network_does_not_enter_the_norm():
    w, other = weight(0.0), weight(0.0)
    other.grad = tensor([1e6])
    descend(sgd(w), [w.sum()], 1.0, whose="actor", episodes=["a"])
    assert_close(w.detach(), tensor([-1.0]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_not_applied_and_names_its_episodes(bad):
    w = weight(1.0)
    with pytest.raises(NonFiniteUpdateError, match=r"critic's loss is .* on episodes a, b"):
        descend(sgd(w), [w.sum(), (bad * w).sum()], 1.0, whose="critic", episodes=["a", "b", "a"])
    assert_close(w.detach(), tensor([1.0]))
    assert w.grad is None


def test_a_finite_loss_with_a_gradient_that_is_not_is_refused():
    w = weight(0.0)
    with pytest.raises(NonFiniteUpdateError, match="gradient norm"):
        descend(sgd(w), [w.abs().sqrt().sum()], 1.0, whose="actor", episodes=["a"])  # the slope of a root at 0
    assert_close(w.detach(), tensor([0.0]))


def test_a_vetoed_step_changes_nothing():
    w = weight(1.0)
    assert descend(sgd(w), [w.sum()], 1.0, whose="actor", episodes=["a"], approves=lambda: False) is None
    assert_close(w.detach(), tensor([1.0]))

"""Features do not depend on company, values have the rewards' unit, and what is no encoder is refused."""

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from worker.archer.config import ArcherConfig
from worker.archer.critic import DoubleCritic, EncoderError, mean_pool
from worker.encoder import packaged_encoder


@pytest.fixture
def critic(encoder_folder, config):
    return DoubleCritic.from_pretrained(encoder_folder, config)


def test_the_mean_leaves_padding_out():
    hidden = tensor([[[1.0], [3.0], [100.0]]])
    assert_close(mean_pool(hidden, tensor([[1, 1, 0]])), tensor([[2.0]]))


def test_padding_takes_no_gradient():
    hidden = torch.ones(1, 3, 1, requires_grad=True)
    mean_pool(hidden, tensor([[1, 1, 0]])).sum().backward()
    assert_close(hidden.grad, tensor([[[0.5], [0.5], [0.0]]]))


def test_a_text_has_the_same_features_alone_and_in_any_company(critic):
    texts = ["hello there", "a", "something much longer than the others", "b?"]
    together = critic.encode(texts)
    for text, features in zip(texts, together, strict=True):
        assert_close(critic.encode([text])[0], features, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_small_passes_give_the_same_features_in_the_same_order(encoder_folder):
    texts = ["one", "twenty two", "three hundred and thirty three", "four"]
    whole = DoubleCritic.from_pretrained(encoder_folder, ArcherConfig()).encode(texts)
    split = DoubleCritic.from_pretrained(encoder_folder, ArcherConfig(max_tokens_per_microbatch=8)).encode(texts)
    assert_close(split, whole, rtol=1e-4, atol=1e-5)


def test_a_long_text_keeps_its_newest_words(encoder_folder):
    critic = DoubleCritic.from_pretrained(encoder_folder, ArcherConfig(max_encoder_tokens=10))
    assert critic.encoder.count_cut(["short", "x" * 50]) == 1
    assert_close(critic.encode(["old words, the end"]), critic.encode(["other words, the end"]))
    assert not torch.allclose(critic.encode(["the same start, x"]), critic.encode(["the same start, y"]))


def test_a_frozen_encoder_takes_no_gradient_and_a_trained_one_does(encoder_folder):
    frozen = DoubleCritic.from_pretrained(encoder_folder, ArcherConfig())
    assert not frozen.encode(["a"]).requires_grad
    trained = DoubleCritic.from_pretrained(encoder_folder, ArcherConfig(train_encoder=True))
    trained.encode(["a"]).sum().backward()
    gradients = [parameter.grad for parameter in trained.encoder.parameters()]
    assert all(gradient is not None for gradient in gradients)


def test_before_it_learns_a_critic_values_all_replies_alike_at_the_mean_return(critic):
    critic.heads.calibrate(tensor([10.0, 30.0]))
    features = critic.encode(["yes", "no"])
    assert_close(critic.q(features, features), torch.full((2, 2), 20.0))
    assert_close(critic.v(features), torch.full((2, 2), 20.0))


def test_the_unit_is_taken_once(critic):
    critic.heads.calibrate(tensor([0.0, 10.0]))
    critic.heads.calibrate(tensor([1000.0, 3000.0]))
    assert (critic.heads.shift.item(), critic.heads.scale.item()) == (5.0, 5.0)


@pytest.mark.parametrize(("returns", "scale"), [([4.0, 4.0], 4.0), ([0.0, 0.0], 1.0)])
def test_equal_returns_leave_a_usable_unit(critic, returns, scale):
    critic.heads.calibrate(tensor(returns))
    assert critic.heads.scale.item() == scale


def test_the_twins_differ_and_the_seed_decides_them(encoder_folder, config):
    first, again, other = (DoubleCritic.from_pretrained(encoder_folder, config, seed=seed) for seed in (1, 1, 2))
    weight = [critic.heads.q[0].layers[1].weight for critic in (first, again, other)]
    assert torch.equal(weight[0], weight[1])
    assert not torch.equal(weight[0], weight[2])
    assert not torch.equal(weight[0], first.heads.q[1].layers[1].weight)


def test_a_folder_that_is_no_encoder_is_refused(tmp_path, config):
    with pytest.raises(EncoderError, match="not a transformers encoder"):
        DoubleCritic.from_pretrained(tmp_path, config)


def test_the_packaged_encoder_puts_like_beside_like(config):
    critic = DoubleCritic.from_pretrained(packaged_encoder(), config)
    features = torch.nn.functional.normalize(
        critic.encode(["My bicycle has a flat tyre.", "There is a puncture in my bike's wheel.", "We open at nine."])
    )
    same, different = features[0] @ features[1], features[0] @ features[2]
    assert same > different + 0.3

"""Features of texts do not depend on company, follow the turns they are of, and what is no encoder is refused."""

from dataclasses import replace

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from tests.fixtures.transitions import dialogue
from worker.archer.config import ArcherConfig
from worker.archer.text_reader import EncoderError, TextEncoder, TextReader, mean_pool
from worker.encoder import packaged_encoder

TURNS = [*dialogue("a", (0.0, 0.0, 1.0)), *dialogue("b", (0.0, 1.0), terminal=False)]


@pytest.fixture
def encode(encoder_folder, config):
    return TextEncoder.from_pretrained(encoder_folder, config)


def reader_of(encoder_folder, config, **changes):
    config = replace(config, **changes)
    return TextReader(TextEncoder.from_pretrained(encoder_folder, config), config)


def test_the_mean_leaves_padding_out():
    hidden = tensor([[[1.0], [3.0], [100.0]]])
    assert_close(mean_pool(hidden, tensor([[1, 1, 0]])), tensor([[2.0]]))


def test_padding_takes_no_gradient():
    hidden = torch.ones(1, 3, 1, requires_grad=True)
    mean_pool(hidden, tensor([[1, 1, 0]])).sum().backward()
    assert_close(hidden.grad, tensor([[[0.5], [0.5], [0.0]]]))


def test_a_text_has_the_same_features_alone_and_in_any_company(encode):
    texts = ["hello there", "a", "something much longer than the others", "b?"]
    together = encode(texts)
    for text, features in zip(texts, together, strict=True):
        assert_close(encode([text])[0], features, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_small_passes_give_the_same_features_in_the_same_order(encoder_folder):
    texts = ["one", "twenty two", "three hundred and thirty three", "four"]
    whole = TextEncoder.from_pretrained(encoder_folder, ArcherConfig())(texts)
    split = TextEncoder.from_pretrained(encoder_folder, ArcherConfig(max_tokens_per_microbatch=8))(texts)
    assert_close(split, whole, rtol=1e-4, atol=1e-5)


def test_a_long_text_keeps_its_newest_words(encoder_folder):
    encode = TextEncoder.from_pretrained(encoder_folder, ArcherConfig(max_encoder_tokens=10))
    assert encode.count_cut(["short", "x" * 50]) == 1
    assert_close(encode(["old words, the end"]), encode(["other words, the end"]))
    assert not torch.allclose(encode(["the same start, x"]), encode(["the same start, y"]))


def test_a_frozen_encoder_takes_no_gradient_and_a_trained_one_does(encoder_folder, config):
    frozen = reader_of(encoder_folder, config)
    assert frozen.trained() == {}
    assert not frozen.read(frozen.index(TURNS), [0], following=False).action.requires_grad
    trained = reader_of(encoder_folder, config, train_reader=True)
    trained.read(trained.index(TURNS), [0, 1], following=False).action.sum().backward()
    assert trained.trained()
    assert all(weight.grad is not None for weight in trained.trained().values())


@pytest.mark.parametrize("encoding", ["split", "joint"])
def test_each_turn_has_the_features_of_its_own_texts(encoder_folder, config, encoding):
    reader = reader_of(encoder_folder, config, critic_encoding=encoding)
    found = reader.read(reader.index(TURNS), range(5), following=True)
    encode = reader.encoder
    for place, turn in enumerate(TURNS):
        observation, utterance = encode([turn.observation])[0], encode([turn.utterance])[0]
        joint = encode([f"{turn.observation}\n{turn.utterance}"])[0]
        assert_close(found.observation[place], observation, rtol=1e-4, atol=1e-5)
        assert_close(found.following[place], encode([turn.next_observation])[0], rtol=1e-4, atol=1e-5)
        apart = torch.cat([observation, utterance])
        assert_close(found.action[place], joint if encoding == "joint" else apart, rtol=1e-4, atol=1e-5)
        assert found.action.shape[1] == reader.action_width


def test_turns_may_be_read_in_any_order_and_selection(encoder_folder, config):
    reader = reader_of(encoder_folder, config)
    index = reader.index(TURNS)
    whole, some = reader.read(index, range(5), following=True), reader.read(index, [4, 1], following=True)
    for all_turns, picked in zip(whole, some, strict=True):
        assert_close(picked, all_turns[[4, 1]], rtol=1e-4, atol=1e-5)


def test_a_shared_text_is_numbered_once_and_an_unknown_next_observation_reads_as_zeros(encoder_folder, config):
    reader = reader_of(encoder_folder, config)
    turns = [TURNS[0], replace(TURNS[1], next_observation=None)]
    index = reader.index(turns)
    assert len(index.texts) == len(set(index.texts))
    assert index.following == [index.observation[1], -1]
    following = reader.read(index, [0, 1], following=True).following
    assert following[0].any()
    assert not following[1].any()
    assert not reader.read(index, [0, 1], following=False).following.any()


def test_the_parts_cover_every_turn_once(encoder_folder, config):
    reader = reader_of(encoder_folder, config, max_encoder_tokens=20, max_tokens_per_microbatch=120)
    parts = reader.parts(reader.index(TURNS), [4, 0, 3, 1, 2])
    assert parts == [[4, 0], [3, 1], [2]]  # three texts of 20 tokens a turn


def test_the_twin_of_a_frozen_encoder_is_itself_and_of_a_trained_one_a_copy_that_never_trains(encoder_folder, config):
    frozen = reader_of(encoder_folder, config)
    assert frozen.twin() is frozen
    trained = reader_of(encoder_folder, config, train_reader=True)
    twin = trained.twin()
    assert twin.encoder is not trained.encoder
    assert twin.trained().keys() == trained.trained().keys()
    assert not any(weight.requires_grad for weight in twin.encoder.parameters())
    assert all(weight.requires_grad for weight in trained.encoder.parameters())


def test_a_trained_encoder_stays_without_dropout(encoder_folder, config):
    reader = reader_of(encoder_folder, config, train_reader=True)
    reader.encoder.train()
    assert not any(module.training for module in reader.encoder.modules())


def test_a_folder_that_is_no_encoder_is_refused(tmp_path, config):
    with pytest.raises(EncoderError, match="not a transformers encoder"):
        TextEncoder.from_pretrained(tmp_path, config)


def test_the_packaged_encoder_puts_like_beside_like(config):
    encode = TextEncoder.from_pretrained(packaged_encoder(), config)
    features = torch.nn.functional.normalize(
        encode(["My bicycle has a flat tyre.", "There is a puncture in my bike's wheel.", "We open at nine."])
    )
    same, different = features[0] @ features[1], features[0] @ features[2]
    assert same > different + 0.3

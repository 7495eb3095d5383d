"""Reads a Llama out of a GGUF file: its configuration and its weights, dequantised, under Hugging Face's names.

transformers can do it too, but parses the file's 150,000 vocabulary entries again and again and draws random weights
first; this takes a third of the time, and a first start waits for it.
"""

import re
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, dequantize
from torch import Tensor

LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def read_llama(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings of a `LlamaConfig`, and a state dict in float32; tied where the file has no output matrix."""
    reader = GGUFReader(path)

    def field(name: str) -> Any:
        return reader.fields[name].contents()

    if field("general.architecture") != "llama":
        raise ValueError(f"{path} holds a {field('general.architecture')}, not a llama.")
    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    weights = {}
    for stored in reader.tensors:
        values = torch.tensor(dequantize(stored.data, stored.tensor_type), dtype=torch.float32)
        if ".attn_q." in stored.name or ".attn_k." in stored.name:
            values = unpermute(values, heads if ".attn_q." in stored.name else kv_heads)
        weights[translate(stored.name)] = values
    settings = {
        "vocab_size": field("llama.vocab_size"),
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "num_hidden_layers": field("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": field("llama.context_length"),
        "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "tie_word_embeddings": "lm_head.weight" not in weights,
    }
    return settings, weights


def translate(name: str) -> str:
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    layer = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if layer is None or layer[2] not in LAYER_NAMES:
        raise ValueError(f"{name} is no weight of a llama.")
    return f"model.layers.{layer[1]}.{LAYER_NAMES[layer[2]]}.weight"


def unpermute(weight: Tensor, heads: int) -> Tensor:
    """llama.cpp rotates neighbouring pairs, Hugging Face the two halves of a head; the rows are ordered accordingly."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape).contiguous()

"""Opens a causal language model with its tokenizer and template, or says why it cannot be served; knows no requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from engine.errors import StartError

SERVED_LAYER_TYPES = {"full_attention", "sliding_attention"}
# What a model's own generation_config.json may preset, as vLLM lets it.
PRESETS = ("temperature", "top_p", "top_k")


@dataclass(slots=True)
class LanguageModel:
    """A model ready to decode."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    root: str
    max_model_len: int
    device: torch.device
    dtype: torch.dtype
    eos_token_id: int | None
    more_eos_token_ids: frozenset[int]
    presets: dict[str, Any]


def choose_device() -> torch.device:
    """The GPU where one works, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        try:
            torch.nn.functional.scaled_dot_product_attention(*torch.ones(3, 1, 2, 4, 32, device="mps")).cpu()
        except RuntimeError:
            return torch.device("cpu")
        return torch.device("mps")
    return torch.device("cpu")


def read_config(model: str) -> Any:
    """The model's configuration, or one sentence on why this is no model."""
    folder = Path(model)
    if folder.exists() and not (folder / "config.json").is_file():
        raise StartError(
            f"{model} is not a model folder, it has no config.json: "
            "give --model a Hugging Face folder (config.json, safetensors, tokenizer) or a Hugging Face id."
        )
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StartError(
            f"The model {model} cannot be opened, check the path, the id and the network: {reason}"
        ) from error
    text_config = config.get_text_config()
    unserved = set(getattr(text_config, "layer_types", None) or []) - SERVED_LAYER_TYPES
    if unserved:
        raise StartError(f"{model} has layers of type {', '.join(sorted(unserved))}: serve it with vLLM instead.")
    return text_config


def read_tokenizer(model: str) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StartError(f"The tokenizer of {model} cannot be opened, add its tokenizer.json: {reason}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise StartError(f"{model} has no fast tokenizer: convert it with tokenizer.save_pretrained first.")
    if not tokenizer.chat_template:
        raise StartError(
            f"{model} has no chat template: choose an instruction-tuned model, or add one (chat_template.jinja)."
        )
    return tokenizer


def read_network(model: str, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    try:
        network: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, attn_implementation="sdpa")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StartError(f"The weights of {model} cannot be loaded as a causal language model: {reason}") from error
    loaded: PreTrainedModel = network.to(device).eval().requires_grad_(False)
    return loaded


def open_model(model: str, dtype: torch.dtype, device: torch.device, max_model_len: int | None) -> LanguageModel:
    """Load everything that serving needs."""
    config = read_config(model)
    tokenizer = read_tokenizer(model)
    network = read_network(model, dtype, device)
    generation_config = network.generation_config or GenerationConfig()  # type: ignore[no-untyped-call]
    named = generation_config.eos_token_id if generation_config.eos_token_id is not None else config.eos_token_id
    eos_ids = set(named if isinstance(named, list) else [named]) - {None}
    eos = tokenizer.eos_token_id
    return LanguageModel(
        network=network,
        tokenizer=tokenizer,
        root=model,
        max_model_len=choose_context(model, config, max_model_len),
        device=device,
        dtype=dtype,
        eos_token_id=eos if isinstance(eos, int) else None,
        more_eos_token_ids=frozenset(eos_ids - {eos}),
        presets={name: value for name in PRESETS if (value := getattr(generation_config, name, None)) is not None},
    )


def choose_context(model: str, config: Any, wanted: int | None) -> int:
    """The number of tokens a conversation may have, prompt and reply together."""
    longest: int = config.max_position_embeddings
    if wanted is not None and wanted > longest:
        raise StartError(f"--max-model-len {wanted} is more than the {longest} positions of {model}: lower it.")
    return wanted or longest

"""An adapter is served whole or not at all, with the scaling that peft gives it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.adapters import AdapterLimits, AdapterStore
from engine.batch import Row, RunningBatch
from engine.errors import AdapterLoadError, InvalidInputError, NotFoundError, RequestError
from engine.sampling import SamplerRow, Sampling
from tests.fixtures.tiny_model import write_tiny_adapter, write_tiny_model
from tests.unit.engine.conftest import Opened


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """An adapter folder to spoil."""
    return Path(shutil.copytree(folders["all"], tmp_path / "adapter"))


def reconfigure(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


def drop_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(key for key in tensors if "lora_B" in key)]


def spoil_one(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def add_strange(tensors: dict[str, torch.Tensor]) -> None:
    tensors["base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"] = torch.zeros(4, 128)


def cut_off(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda f: shutil.rmtree(f), NotFoundError, "No adapter found for"),
        (lambda f: (f / "adapter_config.json").unlink(), NotFoundError, "No adapter found for"),
        (lambda f: (f / "adapter_config.json").write_text("{"), AdapterLoadError, "cannot be read"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), AdapterLoadError, "doesn't contain tensors"),
        (cut_off, AdapterLoadError, "cannot be read"),
        (lambda f: reconfigure(f, r=32), AdapterLoadError, "rank 32 is greater than max_lora_rank 16"),
        (lambda f: reconfigure(f, rank_pattern={"q_proj": 64}), AdapterLoadError, "rank 64 is greater"),
        (lambda f: reconfigure(f, use_dora=True), AdapterLoadError, "DoRA"),
        (lambda f: reconfigure(f, modules_to_save=["lm_head"]), AdapterLoadError, "modules_to_save"),
        (lambda f: reconfigure(f, bias="all"), AdapterLoadError, "bias is not supported"),
        (lambda f: reconfigure(f, init_lora_weights="pissa"), AdapterLoadError, "changes the base weights"),
        (lambda f: reconfigure(f, peft_type="IA3"), AdapterLoadError, "only LORA"),
        (lambda f: rewrite(f, drop_one), AdapterLoadError, "only one of the two matrices"),
        (lambda f: rewrite(f, spoil_one), AdapterLoadError, "NaN"),
        (lambda f: rewrite(f, add_strange), AdapterLoadError, "no linear layer of the served model"),
    ],
)
def test_a_spoilt_folder_is_refused_and_leaves_nothing(
    opened: Opened, copy: Path, spoil: Callable[[Path], object], error: type[RequestError], message: str
) -> None:
    spoil(copy)
    with pytest.raises(error, match=message):
        opened.store.load("a", str(copy))
    assert opened.store.list() == []
    assert opened.composition.weights == {}


def test_an_adapter_of_another_base_model_is_refused_with_both_shapes(opened: Opened, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "wider", hidden_size=256)
    folder = write_tiny_adapter(tmp_path / "adapter", model)
    with pytest.raises(AdapterLoadError, match="trained on another base model"):
        opened.store.load("a", str(folder))


def test_a_name_is_loaded_once_and_unloaded_once(opened: Opened, folders: dict[str, Path]) -> None:
    path = str(folders["all"])
    opened.store.load("a", path)
    with pytest.raises(InvalidInputError, match="already been loaded"):
        opened.store.load("a", path)
    with pytest.raises(InvalidInputError, match="conflicts with a served base model"):
        opened.store.load("base", path)
    opened.store.unload("a")
    with pytest.raises(NotFoundError, match="cannot be found"):
        opened.store.unload("a")
    assert opened.store.find("a") is None


def test_more_adapters_than_fit_are_refused_until_one_is_unloaded(opened: Opened, folders: dict[str, Path]) -> None:
    store = AdapterStore("base", opened.layers, AdapterLimits(max_lora_rank=16, max_cpu_loras=1))
    store.load("a", str(folders["all"]))
    with pytest.raises(AdapterLoadError, match="--max-cpu-loras is 1"):
        store.load("b", str(folders["some"]))
    store.unload("a")
    store.load("b", str(folders["some"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 8, "lora_alpha": 4},
        {"r": 8, "lora_alpha": 4, "use_rslora": True},
        {"r": 4, "rank_pattern": {"q_proj": 12}, "alpha_pattern": {"layers.1.self_attn.q_proj": 40}},
    ],
)
def test_an_adapter_adds_what_peft_adds(
    opened: Opened, folders: dict[str, Path], tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = LoraConfig(target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **settings)
    trained = get_peft_model(AutoModelForCausalLM.from_pretrained(folders["model"]), config)
    for name, weight in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    trained.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(folders["model"])
    peft = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.inference_mode():
        expected = peft(input_ids=torch.tensor([[1, 2, 3]])).logits[0, -1].log_softmax(-1)
    adapter = opened.store.load("a", str(tmp_path / "adapter"))
    batch: RunningBatch[Row] = RunningBatch(opened.model, opened.composition)
    greedy = SamplerRow(Sampling(temperature=0.0, wants_logprobs=True, top_logprobs=20))
    sampled = batch.join([Row([1, 2, 3], greedy, adapter)])
    assert sampled.top_logprobs is not None
    assert sampled.top_logprobs[0].tolist() == pytest.approx(expected.topk(20).values.tolist(), abs=2e-5)

"""Which LoRA files are let in: those that every engine serves, whole and for the agent's base model."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.domain.errors import InvalidValueError
from service.imports.peft_files import MOST_HEADER_BYTES, Configuration, check_weights, read_configuration
from tests.fixtures.loras import LAYER, PAIR, configuration, framed, weights
from tests.fixtures.tiny_model import write_tiny_adapter

LORA = Configuration(rank=2, targets=("q_proj",))


def refusal(text: bytes, base: str = "tiny", declared: str | None = None) -> str:
    with pytest.raises(InvalidValueError) as refused:
        read_configuration(text, base, declared)
    return refused.value.message


def damage(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(InvalidValueError) as refused:
        check_weights(tmp_path / "weights", LORA)
    assert str(tmp_path) not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("named", ["tiny", "/a/folder/tiny", "someone/tiny/"])
def test_the_base_model_is_compared_by_the_last_part_of_its_path(named: str) -> None:
    assert read_configuration(configuration(base_model_name_or_path=named), "other/tiny", None) == LORA


def test_another_base_model_is_refused_whatever_is_declared() -> None:
    assert "another base model" in refusal(configuration(base_model_name_or_path="large"), declared="tiny")
    assert "another base model" in refusal(configuration(base_model_name_or_path=["tiny"]))


def test_a_base_model_that_is_not_named_has_to_be_declared() -> None:
    for nameless in (None, ""):
        text = configuration(base_model_name_or_path=nameless)
        assert "does not name its base model" in refusal(text)
        assert "another base model" in refusal(text, declared="large")
        assert read_configuration(text, "tiny", "tiny") == LORA


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "no LoRA"),
        ({"peft_type": None}, "no LoRA"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"bias": "all"}, "biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base weights"),
        ({"init_lora_weights": 7}, "changes the base weights"),
        ({"r": 0}, "rank"),
        ({"r": 257}, "rank"),
        ({"r": True}, "rank"),
        ({"r": "4"}, "rank"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": "all-linear"}, "target_modules"),
        ({"target_modules": ["q_proj", 3]}, "target_modules"),
    ],
)
def test_what_engines_do_not_serve_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(configuration(**changes))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"r": NaN}', b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(text: bytes) -> None:
    assert refusal(text).startswith("adapter_config.json is no")


def test_a_whole_file_of_pairs_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(weights())
    assert check_weights(tmp_path / "weights", LORA) == 1


def test_what_peft_itself_writes_is_let_in(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = write_tiny_adapter(tmp_path / "real", tiny_model_folder)
    lora = read_configuration((folder / "adapter_config.json").read_bytes(), "tiny", None)
    assert check_weights(folder / "adapter_model.safetensors", lora) == 14


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no whole safetensors"),
        (b"\x01", "no whole safetensors"),
        (b"\xff" * 8, "no whole safetensors"),
        ((MOST_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 64, "no whole safetensors"),
        (framed(b"{}"), "no tensors"),
        (framed(b'{"__metadata__": {"format": "pt"}}'), "no tensors"),
        (framed(b"[1]"), "no object"),
        (framed(b"\xff\xff"), "not JSON"),
        (framed(b"[" * 100_000), "not JSON"),
        (weights()[:-1], "cut off"),
        (weights() + b"x", "cut off"),
        (b"\x80\x04\x95pickle.", "no whole safetensors"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reason in damage(tmp_path, content)


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        {},
        {"dtype": "F32", "shape": [2, 8], "data_offsets": [0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2, -8], "data_offsets": [0, -64]},
        {"dtype": "F32", "shape": [2, 0], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [2] * 1000, "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": ["2", "8"], "data_offsets": [0, 64]},
        {"dtype": "F32", "shape": [2, 8], "data_offsets": [-64, 0]},
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, tensor: Any) -> None:
    assert "makes no sense" in damage(tmp_path, framed(json.dumps({"ü" * 300: tensor}).encode(), b"\x00" * 64))


def test_tensors_that_overlap_or_leave_holes_are_refused(tmp_path: Path) -> None:
    for begin in (0, 65):
        header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 64]} for name, shape in PAIR.items()}
        header[f"{LAYER}.lora_B.weight"]["data_offsets"] = [begin, begin + 64]
        assert "does not describe" in damage(tmp_path, framed(json.dumps(header).encode(), b"\x00" * 128))


def test_numbers_of_other_kinds_are_refused(tmp_path: Path) -> None:
    header = {f"{LAYER}.lora_A.weight": {"dtype": "I8", "shape": [2, 8], "data_offsets": [0, 16]}}
    assert "F32, F16 or BF16" in damage(tmp_path, framed(json.dumps(header).encode(), b"\x00" * 16))


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({f"{LAYER}.lora_A.weight": [2, 8]}, "only one of the two"),
        ({f"{LAYER}.weight": [2, 8]}, "no matrix of a LoRA"),
        ({"../../etc/q_proj.lora_A.weight": [2, 8]}, "no matrix of a LoRA"),
        ({f"{LAYER}.lora_embedding_A": [2, 8]}, "no matrix of a LoRA"),
        ({"base_model.model.lm_head.lora_A.weight": [2, 8]}, "none of the target_modules"),
        ({f"{LAYER}.lora_A.weight": [4, 8], f"{LAYER}.lora_B.weight": [8, 4]}, "not of rank 2"),
    ],
)
def test_tensors_that_are_no_pairs_of_the_rank_are_refused(
    tmp_path: Path, shapes: dict[str, list[int]], reason: str
) -> None:
    assert reason in damage(tmp_path, weights(shapes))

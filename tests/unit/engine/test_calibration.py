"""The number format is measured on any model, however few words it knows."""

from pathlib import Path

import pytest
import torch

from bench.policies.recipe import Recipe, write_policy
from engine import calibration
from sim.catalogue import find_task


@pytest.mark.parametrize("dtype", calibration.CANDIDATES, ids=str)
def test_a_model_of_eighty_words_is_measured(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_policy(find_task("twenty-questions"), tmp_path / "policy", Recipe(games=4, epochs=1))
    monkeypatch.setattr(calibration, "MEASURED_SECONDS", 0.05)
    assert calibration.measure(str(tmp_path / "policy"), dtype, torch.device("cpu")) > 0

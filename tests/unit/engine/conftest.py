"""The tiny model, opened as the engine opens it, and adapters for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.adapters import AdapterLimits, AdapterStore
from engine.lora import Composition, adapt_linears
from engine.model import LanguageModel, open_model
from tests.fixtures.tiny_model import write_tiny_adapter, write_tiny_model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tiny model gains nothing by a second thread, and loses much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model and two adapters of different rank over different layers."""
    root = tmp_path_factory.mktemp("engine")
    model = write_tiny_model(root / "model")
    return {
        "model": model,
        "all": write_tiny_adapter(root / "all", model, seed=1, rank=4),
        "some": write_tiny_adapter(root / "some", model, seed=2, rank=8, targets=("q_proj", "v_proj")),
    }


class Opened:
    """A model whose layers are adapted, and the store of its adapters."""

    def __init__(self, folder: Path) -> None:
        self.model: LanguageModel = open_model(str(folder), torch.float32, torch.device("cpu"), None)
        self.composition = Composition()
        self.layers = adapt_linears(self.model.network, self.composition)
        self.store = AdapterStore("base", self.layers, AdapterLimits(max_lora_rank=16, max_cpu_loras=8))


@pytest.fixture
def opened(folders: dict[str, Path]) -> Opened:
    return Opened(folders["model"])

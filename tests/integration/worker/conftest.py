"""A learner of a tiny model, with its folders."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
import torch

from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.runs import QUICK
from tests.fixtures.tiny_encoder import write_tiny_encoder
from tests.fixtures.tiny_model import write_tiny_model
from worker import learning
from worker.settings import LearnerSettings

Step = Callable[[UUID], Awaitable[None]]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny-encoder")


@pytest.fixture
def settings(tiny_model: Path, tiny_encoder: Path) -> LearnerSettings:
    return LearnerSettings(model=str(tiny_model), critic_encoder=str(tiny_encoder), learner_threads=2)


@pytest.fixture
def store(tmp_path: Path) -> StoreSettings:
    return StoreSettings(adapters_dir=tmp_path / "adapters", checkpoints_dir=tmp_path / "checkpoints")


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, learner=QUICK)


@pytest.fixture
def step(database: Database, settings: LearnerSettings, store: StoreSettings) -> Step:
    """Do a run as the learner's task does."""

    async def do(run_id: UUID) -> None:
        await learning.step(database, run_id, settings=settings, store=store, is_stopping=lambda: False)

    return do

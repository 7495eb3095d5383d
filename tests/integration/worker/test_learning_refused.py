"""Learner steps that make no candidate: each says why, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest

from core.domain.adapters import AdapterState
from core.settings import StoreSettings
from core.storage import models
from core.storage.database import Database
from core.storage.models import RunState
from tests.fixtures.builders import create_adapter, create_agent
from tests.fixtures.conversations import create_matured, create_mixed
from tests.fixtures.runs import QUICK, queue_run, read_run
from tests.fixtures.tiny_model import write_tiny_adapter
from worker import learning
from worker.settings import LearnerSettings


async def test_too_few_outcomes_are_skipped_with_the_number_that_is_missing(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    await create_mixed(database, agent, count=3)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert (run.state, run.reason) == (RunState.SKIPPED, "3 matured conversations, 4 are needed: 1 more.")
    assert not store.adapters_dir.exists()


async def test_outcomes_that_a_run_learned_from_are_not_new_to_the_next_one(
    database: Database, agent: models.Agent, step: Any
) -> None:
    await create_mixed(database, agent, count=4)
    await step(await queue_run(database, agent))
    await create_mixed(database, agent, count=1)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert (run.state, run.reason) == (RunState.SKIPPED, "1 newly matured conversations, 4 are needed: 3 more.")


async def test_outcomes_that_are_all_alike_are_skipped_and_leave_nothing(
    database: Database, agent: models.Agent, step: Any, store: StoreSettings
) -> None:
    for _ in range(4):
        await create_matured(database, agent, reward=1.0)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert (run.state, run.reason) == (RunState.SKIPPED, "Nothing to learn: all episodes were rewarded alike.")
    assert run.figures is not None
    assert run.figures["turns"] == 8
    assert list((store.adapters_dir / "demo").iterdir()) == []
    assert list((store.checkpoints_dir / "demo").iterdir()) == []


@pytest.mark.parametrize(
    ("learner", "base_model", "reason"),
    [
        (QUICK | {"actor_rl": 1.0}, "tiny", "Unknown hyper-parameters: actor_rl."),
        (QUICK | {"preset": "moderm"}, "tiny", "preset is 'moderm'; it must be faithful or modern or offline."),
        (QUICK | {"tau": 2.0}, "tiny", "tau is 2.0; it must be above 0, at most 1."),
        (QUICK | {"min_conversations": 0}, "tiny", "min_conversations is 0; it must be a whole number, 1 or more."),
        (QUICK | {"max_conversations": 3}, "tiny", "max_conversations is 3; it must be at least min_conversations, 4."),
        (QUICK, "other", "The agent's base model is 'other', and this learner trains 'tiny'"),
        (QUICK | {"critic_lr": 1e30}, "tiny", "The critic's loss is nan and its gradient norm nan on episodes "),
    ],
)
async def test_what_cannot_be_learned_fails_with_the_reason(
    database: Database, step: Any, store: StoreSettings, learner: dict[str, Any], base_model: str, reason: str
) -> None:
    agent = await create_agent(database, learner=learner, base_model=base_model)
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.FAILED
    assert reason in (run.reason or "")
    assert list(store.adapters_dir.glob("demo/*")) == []


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("", "set NOCK_MODEL to a folder or a Hugging Face id"),
        ("/nowhere/tiny", "is no model folder: there is no config.json in it"),
    ],
)
async def test_a_learner_without_a_model_fails_the_run_and_says_what_to_set(
    database: Database, agent: models.Agent, store: StoreSettings, model: str, reason: str
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    settings = LearnerSettings(model=model)
    await learning.step(database, run_id, settings=settings, store=store, is_stopping=lambda: False)
    run = await read_run(database, run_id)
    assert run.state is RunState.FAILED
    assert reason in (run.reason or "")


async def test_a_stable_version_with_other_weights_than_registered_is_not_continued(
    database: Database, agent: models.Agent, step: Any, tiny_model: Path, tmp_path: Path
) -> None:
    folder = write_tiny_adapter(tmp_path / "stable", tiny_model, rank=2)
    await create_adapter(database, agent, state=AdapterState.STABLE, path=str(folder), sha256="0" * 64)
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    run = await read_run(database, run_id)
    assert run.state is RunState.FAILED
    assert "The weights of demo@v1 have the checksum" in (run.reason or "")

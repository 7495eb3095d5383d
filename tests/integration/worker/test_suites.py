"""Versions are asked their agents' suites: judged prompt by prompt, in slices, by one worker, again after a kill."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from core.domain.canaries import EvaluationKind, EvaluationState
from core.rollouts.asking import ask_suite
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_adapter, create_agent
from tests.fixtures.checksums import sha256_of
from tests.fixtures.scripted_engine import ScriptedEngine
from worker import suites

PROCESS = """
from functools import partial
from core.settings import EngineSettings
from worker import suites
from worker.runtime import run
run(partial(suites.step, settings=EngineSettings()))
"""


def asks(*checks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"p{place}", "prompt": f"say {place}", "checks": each} for place, each in enumerate(checks)]


def write(folder: Path) -> None:
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"1")


async def queue(
    database: Database, folder: Path, suite: Sequence[dict[str, Any]], name: str = "demo"
) -> tuple[models.Agent, UUID]:
    """An agent with a candidate whose suite is queued."""
    agent = await create_agent(database, name, suite=suite)
    write(folder)
    version = await create_adapter(database, agent, path=str(folder), sha256=sha256_of(folder))
    async with database.transaction() as session:
        evaluation = await ask_suite(session, agent, version.id)
    assert evaluation is not None
    return agent, evaluation.id


async def read(database: Database, evaluation_id: UUID) -> models.Evaluation:
    async with database.transaction() as session:
        found = await evaluations.find(session, evaluation_id)
    assert found is not None
    return found


def failures(evaluation: models.Evaluation) -> dict[str, list[str]]:
    assert evaluation.figures is not None
    return {prompt["name"]: prompt["failures"] for prompt in evaluation.figures["prompts"]}


@pytest.fixture
def settings(scripted_engine: ScriptedEngine) -> EngineSettings:
    return EngineSettings(engine_urls=scripted_engine.url)


async def test_a_version_that_gets_all_right_passes_and_was_asked_as_its_agent_speaks_but_greedily(
    database: Database, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    suite = asks({"contains": "demo@v1 heard", "max_characters": 40}, {"matches": "say 1$"})
    agent, evaluation_id = await queue(database, tmp_path / "v1", suite)
    async with database.transaction() as session:
        (await session.get_one(models.Agent, agent.id)).system_prompt = "Be kind."
    await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert (ended.state, ended.reason, failures(ended)) == (EvaluationState.PASSED, None, {"p0": [], "p1": []})
    assert ended.figures is not None
    assert (ended.figures["passed"], ended.figures["failed"], ended.figures["total"]) == (2, 0, 2)
    first = scripted_engine.requests[0]
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("demo@v1", 0.0, 64)
    assert first["messages"][0] == {"role": "system", "content": "Be kind."}
    assert "heard" not in str(ended.figures)  # what was replied is not kept


async def test_a_version_that_gets_something_wrong_fails_and_the_row_says_what(
    database: Database, settings: EngineSettings, tmp_path: Path
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "heard"}, {"contains": "never"}))
    await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert (ended.state, ended.reason) == (EvaluationState.FAILED, "1 of 2 prompts failed: p1.")
    assert failures(ended) == {"p0": [], "p1": ["It does not contain 'never'."]}


async def test_a_long_suite_is_asked_in_slices_that_go_on_where_the_last_stopped(
    database: Database, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks(*[{"contains": "heard"}] * 3))
    for asked in (1, 2):
        await suites.step(database, settings=settings, seconds=0.001)
        between = await read(database, evaluation_id)
        assert (between.state, len(failures(between)), between.attempts) == (EvaluationState.QUEUED, asked, 0)
    await suites.step(database, settings=settings, seconds=0.001)
    assert (await read(database, evaluation_id)).state is EvaluationState.PASSED
    assert len(scripted_engine.requests) == 3


async def test_a_suite_that_was_changed_between_slices_is_asked_from_its_beginning(
    database: Database, settings: EngineSettings, tmp_path: Path
) -> None:
    agent, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "never"}, {"contains": "heard"}))
    await suites.step(database, settings=settings, seconds=0.001)
    assert failures(await read(database, evaluation_id)) == {"p0": ["It does not contain 'never'."]}
    async with database.transaction() as session:
        (await session.get_one(models.Agent, agent.id)).suite = asks({"contains": "heard"})
    await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert (ended.state, failures(ended)) == (EvaluationState.PASSED, {"p0": []})


async def test_an_engine_that_is_away_is_waited_for_and_keeps_no_other_agent_waiting(
    database: Database, settings: EngineSettings, tmp_path: Path
) -> None:
    agent, waiting = await queue(database, tmp_path / "v1", asks({"contains": "heard"}), "a-homeless")
    async with database.transaction() as session:
        (await session.get_one(models.Agent, agent.id)).base_model = "nobody serves this"
    _, served = await queue(database, tmp_path / "v2", asks({"contains": "heard"}), "b-served")
    for _ in range(suites.MOST_ATTEMPTS + 2):
        await suites.step(database, settings=settings)
    assert (await read(database, served)).state is EvaluationState.PASSED
    row = await read(database, waiting)
    assert (row.state, row.attempts) == (EvaluationState.QUEUED, 0)
    assert "No engine serves" in (row.reason or "")


async def test_an_engine_that_fails_each_time_ends_the_suite(
    database: Database, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "heard"}))
    scripted_engine.fault = "fail"
    for _ in range(suites.MOST_ATTEMPTS + 1):
        await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert ended.state is EvaluationState.FAILED
    assert "The engine failed" in (ended.reason or "")


@pytest.mark.parametrize(
    ("fault", "sentence"), [("refuse", "The engine refuses the prompt"), ("hang", "did not come to the end")]
)
async def test_a_prompt_that_gets_no_reply_has_failed(
    database: Database, scripted_engine: ScriptedEngine, tmp_path: Path, fault: str, sentence: str
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "heard"}))
    scripted_engine.fault = fault
    await suites.step(database, settings=EngineSettings(engine_urls=scripted_engine.url, engine_timeout_seconds=0.3))
    ended = await read(database, evaluation_id)
    assert ended.state is EvaluationState.FAILED
    assert sentence in failures(ended)["p0"][0]


async def test_a_version_whose_files_are_damaged_fails_without_a_question(
    database: Database, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "heard"}))
    (tmp_path / "v1" / "adapter_model.safetensors").write_bytes(b"2")
    await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert ended.state is EvaluationState.FAILED
    assert "cannot be loaded" in (ended.reason or "")
    assert scripted_engine.requests == []


async def test_of_two_workers_one_asks(
    database: Database, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    await queue(database, tmp_path / "v1", asks({"contains": "heard"}, {"contains": "heard"}))
    await asyncio.gather(*(suites.step(database, settings=settings) for _ in range(3)))
    assert len(scripted_engine.requests) == 2


async def test_a_worker_that_was_killed_is_followed_by_another(
    database: Database, database_url: str, scripted_engine: ScriptedEngine, settings: EngineSettings, tmp_path: Path
) -> None:
    _, evaluation_id = await queue(database, tmp_path / "v1", asks({"contains": "heard"}, {"contains": "heard"}))
    scripted_engine.fault = "hang"
    environment = {"NOCK_DATABASE_URL": database_url, "NOCK_ENGINE_URLS": scripted_engine.url, "PYTHONPATH": "."}
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", PROCESS], env=environment)
    try:
        deadline = time.monotonic() + 30
        while not scripted_engine.requests:
            assert process.poll() is None
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    scripted_engine.fault = None
    await suites.step(database, settings=settings)  # the dead worker's lease still holds: nothing happens
    assert (await read(database, evaluation_id)).state is EvaluationState.RUNNING
    async with database.transaction() as session:
        assert await evaluations.list_unheld(session, EvaluationKind.SUITE) == []
        await session.execute(update(models.Evaluation).values(lease_until=datetime.now(UTC)))  # minutes later
    await suites.step(database, settings=settings)
    ended = await read(database, evaluation_id)
    assert (ended.state, ended.attempts) == (EvaluationState.PASSED, 2)


async def test_a_real_engine_is_asked_under_the_version_and_not_under_its_base(
    database: Database, embedded_engine_url: str, agent_name: str, adapter_folders: list[Path]
) -> None:
    settings = EngineSettings(engine_urls=embedded_engine_url)
    agent = await create_agent(database, agent_name, suite=[{"prompt": "Hello", "checks": {"max_tokens": 8}}])
    made = [
        await create_adapter(database, agent, path=str(folder), sha256=sha256_of(folder))
        for folder in adapter_folders[:2]
    ]
    async with database.transaction() as session:
        for version in made:
            await ask_suite(session, agent, version.id)
    await suites.step(database, settings=settings, seconds=60)
    async with database.transaction() as session:
        found = [(await evaluations.newest(session, version.id))[EvaluationKind.SUITE] for version in made]
    assert [each.state for each in found] == [EvaluationState.FAILED] * 2
    assert failures(found[0])["prompt 1"][0].endswith("tokens, more than 8.")

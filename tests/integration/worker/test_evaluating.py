"""The evaluation step: what logged conversations say of a candidate before anybody meets it."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from core.domain.adapters import AdapterState
from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.sampling import Learnable
from core.rollouts.loading import WEIGHTS
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_adapter
from tests.fixtures.conversations import create_matured, create_mixed
from tests.fixtures.runs import queue_run, read_run
from tests.fixtures.spoken import QUESTION, REPLY, create_spoken, queue_evaluation, read_evaluation
from tests.fixtures.tiny_model import write_tiny_adapter
from worker import evaluating, scheduling
from worker.settings import LearnerSettings

Evaluate = Callable[[UUID], Awaitable[models.Evaluation]]


@pytest.fixture
def evaluate(database: Database, settings: LearnerSettings) -> Evaluate:
    """Do an evaluation as its task does."""

    async def do(evaluation_id: UUID) -> models.Evaluation:
        await evaluating.step(database, evaluation_id, settings=settings, is_stopping=lambda: False)
        return await read_evaluation(database, evaluation_id)

    return do


@pytest.fixture
def candidate(
    database: Database, agent: models.Agent, tiny_model: Path, tmp_path: Path
) -> Callable[..., Awaitable[models.AdapterVersion]]:
    """A version of the agent's that speaks so far from the base model; at 0 it speaks alike."""

    async def create(*, scale: float = 0.002, **rest: Any) -> models.AdapterVersion:
        folder = write_tiny_adapter(tmp_path / f"candidate-{scale}", tiny_model, rank=2, scale=scale)
        sha256 = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        return await create_adapter(database, agent, path=str(folder), sha256=sha256, **rest)

    return create


async def test_a_run_that_makes_a_candidate_queues_its_evaluation(
    database: Database, agent: models.Agent, step: Any
) -> None:
    await create_mixed(database, agent, count=4)
    run_id = await queue_run(database, agent)
    await step(run_id)
    made = (await read_run(database, run_id)).adapter_id
    assert made is not None
    async with database.transaction() as session:
        found = await evaluations.newest(session, made)
    assert {kind: row.state for kind, row in found.items()} == {EvaluationKind.OFFLINE: EvaluationState.QUEUED}
    assert await scheduling.list_due_evaluations(database) == [found[EvaluationKind.OFFLINE].id]
    await queue_run(database, agent)
    assert await scheduling.list_due_evaluations(database) == []  # the run comes first


async def test_a_candidate_that_speaks_like_the_stable_version_passes(
    database: Database, agent: models.Agent, tiny_model: Path, candidate: Any, evaluate: Evaluate
) -> None:
    await create_spoken(database, agent, tiny_model, count=60, tags={"plan": "gold"})
    await create_matured(database, agent, reward=1.0, learnable=Learnable.CRITIC)
    await create_matured(database, agent, reward=1.0, learnable=Learnable.NONE)
    await create_matured(database, agent, reward=1.0, adapter=await create_adapter(database, agent))
    row = await evaluate(await queue_evaluation(database, await candidate()))
    assert row.state is EvaluationState.PASSED, row.reason
    assert (row.attempts, row.lease_holder) == (1, None)
    assert row.ended_at is not None
    figures = row.figures
    assert figures is not None
    assert (figures["conversations"], figures["units"], figures["stable"]) == (60, 60, 0)
    assert figures["unusable"] == {"other_version": 1, "no_log_probs": 2, "too_long": 0}
    assert figures["unusable_share"] == pytest.approx(3 / 63)
    assert 50 < figures["effective_sample_size"] <= 60
    assert 0 < figures["logged"]["mean"] < 1
    assert figures["covered"]["low"] < 1 < figures["covered"]["high"]
    difference = figures["difference"]
    assert difference["low"] < difference["mean"] < difference["high"]
    assert difference["low"] > -figures["margin"]
    assert figures["segments"]["turns"] == {"1": figures["segments"]["tags"]["plan=gold"]}
    assert set(figures["segments"]["place"]) == {"first", "later"}


async def test_the_conversations_that_taught_it_are_left_out_where_others_are_enough_and_prove_nothing_where_not(
    database: Database, agent: models.Agent, step: Any, tiny_model: Path, candidate: Any, evaluate: Evaluate
) -> None:
    await create_spoken(database, agent, tiny_model, count=52)
    run_id = await queue_run(database, agent)
    await step(run_id)
    made_of_them = await candidate(run_id=run_id)
    row = await evaluate(await queue_evaluation(database, made_of_them))
    assert row.state is EvaluationState.UNDECIDED
    assert row.reason is not None
    assert "52 of the conversations taught it" in row.reason
    assert row.figures is not None
    assert row.figures["taught_share"] == 1.0
    await create_spoken(database, agent, tiny_model, count=55)
    row = await evaluate(await queue_evaluation(database, made_of_them))
    assert row.state is EvaluationState.PASSED, row.reason
    assert row.figures is not None
    assert (row.figures["conversations"], row.figures["taught_share"]) == (55, 0.0)


async def test_the_figures_are_numbers_under_names_of_ours_and_hold_nothing_that_anybody_said(
    database: Database, agent: models.Agent, tiny_model: Path, candidate: Any, evaluate: Evaluate
) -> None:
    conversations = await create_spoken(database, agent, tiny_model, count=60)
    async with database.transaction() as session:
        (await session.get_one(models.Conversation, conversations[0].id)).tags = {"name": "Ada Lovelace"}
    row = await evaluate(await queue_evaluation(database, await candidate()))
    written = json.dumps([row.figures, row.reason])
    for said in (QUESTION, REPLY, "Ada", "name", "user 0", conversations[0].id.hex):
        assert said not in written
    assert all(isinstance(leaf, int | float | None) for leaf in leaves(row.figures))


def leaves(value: Any) -> Iterator[Any]:
    """What stands at the ends of a JSON value."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    else:
        yield value


async def test_a_candidate_that_speaks_too_differently_is_undecided_and_gets_no_difference(
    database: Database, agent: models.Agent, tiny_model: Path, candidate: Any, evaluate: Evaluate
) -> None:
    await create_spoken(database, agent, tiny_model, count=60)
    row = await evaluate(await queue_evaluation(database, await candidate(scale=0.5)))
    assert row.state is EvaluationState.UNDECIDED
    assert row.figures is not None
    assert row.figures["effective_sample_size"] < 50
    assert row.figures.get("difference") is None
    assert row.reason is not None
    assert "speaks too differently" in row.reason


async def test_too_few_end_users_decide_nothing_and_no_model_is_loaded(
    database: Database, agent: models.Agent, tiny_model: Path, evaluate: Evaluate
) -> None:
    await create_spoken(database, agent, tiny_model, count=3)
    row = await evaluate(await queue_evaluation(database, await create_adapter(database, agent)))  # it has no files
    assert row.state is EvaluationState.UNDECIDED
    assert row.reason is not None
    assert "3 usable conversations with an outcome, of 3 end users" in row.reason
    assert row.figures is not None
    assert (row.figures["conversations"], row.figures["floor"]) == (3, 50.0)


async def test_a_version_that_is_out_is_not_weighed(
    database: Database, agent: models.Agent, evaluate: Evaluate
) -> None:
    out = await create_adapter(database, agent, state=AdapterState.REJECTED)
    row = await evaluate(await queue_evaluation(database, out))
    assert (row.state, row.reason) == (EvaluationState.UNDECIDED, "It was rejected before it was looked at.")


async def test_a_learner_with_another_model_refuses_it_at_once(
    database: Database, agent: models.Agent, settings: LearnerSettings
) -> None:
    evaluation_id = await queue_evaluation(database, await create_adapter(database, agent))
    other = settings.model_copy(update={"model": ""})
    await evaluating.step(database, evaluation_id, settings=other, is_stopping=lambda: False)
    row = await read_evaluation(database, evaluation_id)
    assert row.state is EvaluationState.FAILED
    assert row.reason is not None
    assert "set NOCK_MODEL" in row.reason


async def test_what_died_too_often_fails(database: Database, agent: models.Agent, evaluate: Evaluate) -> None:
    evaluation_id = await queue_evaluation(database, await create_adapter(database, agent))
    async with database.transaction() as session:
        (await session.get_one(models.Evaluation, evaluation_id)).attempts = 3
    row = await evaluate(evaluation_id)
    assert row.state is EvaluationState.FAILED
    assert row.reason is not None
    assert row.reason.startswith("The evaluation was started 3 times and never came to an end.")


async def test_a_worker_that_is_asked_to_stop_gives_it_back(
    database: Database, agent: models.Agent, tiny_model: Path, candidate: Any, settings: LearnerSettings
) -> None:
    await create_spoken(database, agent, tiny_model, count=52)
    evaluation_id = await queue_evaluation(database, await candidate())
    patient = settings.model_copy(update={"learner_lease_seconds": 0.3})
    await evaluating.step(database, evaluation_id, settings=patient, is_stopping=lambda: True)
    row = await read_evaluation(database, evaluation_id)
    assert (row.state, row.attempts, row.reason) == (EvaluationState.QUEUED, 0, "this worker was asked to end")


KILLED = """
import os, sys
from functools import partial
from uuid import UUID
from worker import evaluating
from worker.evaluation import weighing
from worker.runtime import run
from worker.settings import LearnerSettings

def hang(*_, **__):
    print("weighing", flush=True)
    sys.stdin.read()

weighing.gather_evidence = hang
run(partial(evaluating.step, evaluation_id=UUID(sys.argv[1]), settings=LearnerSettings(), is_stopping=lambda: False))
"""


def start_weighing(evaluation_id: UUID, environment: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", KILLED, evaluation_id.hex]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    while word not in (line := process.stdout.readline()):
        assert line, "it ended before it could be killed"


async def test_a_killed_evaluation_is_done_by_the_next_worker_once_the_lease_has_passed(
    database: Database,
    database_url: str,
    agent: models.Agent,
    tiny_model: Path,
    candidate: Any,
    evaluate: Evaluate,
) -> None:
    await create_spoken(database, agent, tiny_model, count=60)
    evaluation_id = await queue_evaluation(database, await candidate())
    environment = {**os.environ, "NOCK_DATABASE_URL": database_url, "NOCK_MODEL": str(tiny_model)}
    with start_weighing(evaluation_id, environment) as process:
        await asyncio.to_thread(wait_for, process, "weighing")
        process.kill()
    assert (await evaluate(evaluation_id)).attempts == 1  # the dead worker's lease still holds
    async with database.transaction() as session:
        (await session.get_one(models.Evaluation, evaluation_id)).lease_until = datetime.now(UTC)  # a minute later
    row = await evaluate(evaluation_id)
    assert (row.state, row.attempts) == (EvaluationState.PASSED, 2)

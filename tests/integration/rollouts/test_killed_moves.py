"""A worker or gateway that is killed at any commit of a move leaves what the next one finishes, once."""

import signal
import sys
from asyncio.subprocess import create_subprocess_exec
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from core.domain.adapters import AdapterState
from core.domain.canaries import CanaryState, EvaluationState
from core.engine.pool import open_pool
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import adapters, rollouts
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.trials import LATER, V1, agent_with, begin, evaluate, met_many, stable_now, told, trial
from worker import judging

ROOT = Path(__file__).parents[3]
MOST_COMMITS = 20
"""More than any pass has: the loop ends when one lives."""


async def move_and_die(what: str, database_url: str, engine: ScriptedEngine, when: str, count: int) -> bool:
    """Whether it was killed; it ends well where it has fewer commits."""
    command = [sys.executable, "-m", "tests.fixtures.killed_move", what, when, str(count), database_url, engine.url]
    process = await create_subprocess_exec(*command, cwd=ROOT)
    code = await process.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0


async def check(database: Database, agent: models.Agent) -> None:
    """What holds at any moment, whoever died when."""
    async with database.transaction() as session:
        versions = await adapters.list_versions(session, agent.id)
        states = Counter(version.state for version in versions)
        rollout = await rollouts.get_rollout(session, agent.id)
        running = (await session.scalars(select(models.Canary).where(models.Canary.state == CanaryState.RUNNING))).all()
    assert states[AdapterState.STABLE] == 1
    assert states[AdapterState.CANARY] == len(running) == int(rollout.canary_id is not None)
    assert [canary.id for canary in running] == [rollout.canary_id] * len(running)
    assert (rollout.weight > 0) is (rollout.canary_id is not None)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("outcomes", "kinds", "stable"),
    [
        (None, ["canary"], "demo@base"),
        ([(True, False)] * 80, ["canary", "verdict", "promote"], "demo@v1"),
        ([(False, True)] * 60, ["canary", "verdict", "canary_end", "reject"], "demo@base"),
        ([(True, True)] * 11, ["canary", "ramp"], "demo@base"),
    ],
    ids=["begins", "is promoted", "is rejected", "rises"],
)
async def test_the_next_pass_finishes_what_a_killed_one_began_and_does_nothing_twice(
    database: Database,
    database_url: str,
    scripted_engine: ScriptedEngine,
    tmp_path: Path,
    outcomes: list[tuple[bool, bool]] | None,
    kinds: list[str],
    stable: str,
    when: str,
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    async with open_pool(EngineSettings(engine_urls=scripted_engine.url)) as pool:
        if outcomes is None:
            async with database.transaction() as session:
                version = await adapters.get_version(session, V1)
            await evaluate(database, version, EvaluationState.PASSED)
        else:
            await met_many(database, await begin(database, pool, weight=0.25 if "ramp" in kinds else 0.5), outcomes)
        killed = 0
        for count in range(1, MOST_COMMITS):
            if not await move_and_die("judge", database_url, scripted_engine, when, count):
                break
            killed += 1
            await check(database, agent)
        assert killed >= 2
        assert killed < MOST_COMMITS - 1
        await judging.judge_running(database, pool, now=LATER)
    await check(database, agent)
    assert await told(database) == kinds
    assert await stable_now(database, agent) == stable
    assert (await trial(database)).looked_at is not None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("what", "kind", "stable"), [("promote", "promote", "demo@v1"), ("try", "canary", "demo@base")]
)
async def test_a_gateway_killed_in_a_move_has_moved_all_or_nothing_and_the_same_call_finishes_it(
    database: Database,
    database_url: str,
    scripted_engine: ScriptedEngine,
    tmp_path: Path,
    what: str,
    kind: str,
    stable: str,
    when: str,
) -> None:
    agent = await agent_with(database, tmp_path / "v1")
    for count in range(1, MOST_COMMITS):
        if not await move_and_die(what, database_url, scripted_engine, when, count):
            break
        await check(database, agent)
    assert 2 <= count < MOST_COMMITS - 1
    await check(database, agent)
    assert await told(database) == [kind]
    assert await stable_now(database, agent) == stable
    assert "demo@v1" in scripted_engine.adapters

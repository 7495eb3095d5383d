"""Trials by themselves: units enter when their window has passed, and verdicts, stages and alarms are followed."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from core.domain.adapters import AdapterName, AdapterState
from core.domain.canaries import CanaryState, EvaluationState
from core.domain.episodes import Arm
from core.domain.erasure import ErasureSubject
from core.domain.errors import ConflictError
from core.domain.metrics import Direction, Metric, MetricKind
from core.domain.signatures import Signer
from core.engine.pool import EnginePool, open_pool
from core.erasure.erasing import erase
from core.rollouts import moving, trying
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import adapters, agents, conversations, rollouts
from tests.fixtures.builders import create_agent, create_entry, create_episode
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.traces import traces_of
from tests.fixtures.trials import (
    IDLE,
    LATER,
    SOLVED,
    V1,
    WINDOW,
    agent_with,
    begin,
    evaluate,
    met,
    met_many,
    stable_now,
    told,
    trial,
)
from worker import judging

SIGNER = Signer("a secret of the worker's, and the gateway's")


@pytest.fixture
async def pool(scripted_engine: ScriptedEngine) -> Any:
    async with open_pool(EngineSettings(engine_urls=scripted_engine.url)) as opened:
        yield opened


async def look(database: Database, pool: EnginePool, now: datetime = LATER) -> models.Canary:
    await judging.judge_running(database, pool, now=now)
    return await trial(database)


async def units(database: Database) -> Sequence[models.CanaryUnit]:
    async with database.transaction() as session:
        return (await session.scalars(select(models.CanaryUnit).order_by(models.CanaryUnit.ordinal))).all()


async def test_a_unit_enters_once_when_its_whole_window_has_passed(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    await met(database, canary, Arm.CANARY)
    await look(database, pool, now=datetime.now(UTC) + timedelta(seconds=WINDOW))
    assert await units(database) == []
    for _ in range(2):
        await look(database, pool)
    [unit] = await units(database)
    assert (unit.arm, unit.weight, unit.outcomes["return"], unit.outcomes["polite"]) == (Arm.CANARY, 0.5, 1.0, 1.0)


async def test_what_came_after_a_unit_had_entered_changes_nothing_in_it(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    conversation = await met(database, canary, Arm.CANARY)
    await look(database, pool)
    await create_entry(database, conversation, False, metric="solved")
    await look(database, pool)
    assert [unit.outcomes["return"] for unit in await units(database)] == [1.0]


async def test_what_silence_means_is_known_of_long_conversations_as_of_short_ones(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    complaint = Metric(
        "complaint",
        MetricKind.BOOLEAN,
        weight=0,
        required=False,
        missing=False,
        guard=True,
        direction=Direction.LOWER,
        window_seconds=WINDOW,
    )
    agent = await agent_with(database, tmp_path / "v1")
    async with database.transaction() as session:
        await agents.declare_metrics(session, await agents.lock_agent(session, "demo"), [SOLVED, complaint])
    canary = await begin(database, pool)
    conversation = await met(database, canary, Arm.CANARY, polite=None)
    async with database.transaction() as session:
        row = await conversations.lock_conversation(session, conversation.id)
        row.closed_at = datetime.now(UTC) + timedelta(minutes=20)
    due = datetime.now(UTC) + timedelta(seconds=WINDOW + IDLE + 30)
    await look(database, pool, now=due)
    [unit] = await units(database)
    assert unit.outcomes["complaint"] == 0.0
    assert agent.name == "demo"


async def test_a_conversation_in_which_somebody_pinned_a_version_counts_for_nothing(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    conversation = await met(database, canary, Arm.CANARY)
    await create_episode(database, conversation, arm=Arm.PINNED)
    await look(database, pool)
    assert await units(database) == []


async def test_a_verdict_beside_a_version_that_serves_no_more_is_no_evidence(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="canary-then-ask")
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, False)] * 80)
    assert (await look(database, pool)).verdict == "promote"
    await register(database, agent, tmp_path / "v2")
    await moving.promote(database, pool, AdapterName("demo", 2), by="a person", reason="in a hurry", force=True)
    with pytest.raises(ConflictError, match="beside a version that serves no more"):
        await moving.promote(database, pool, V1, by="a person", reason="it was better")


async def test_one_trial_that_cannot_be_judged_stops_no_other(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    await met_many(database, canary, [(False, True)] * 60)
    other = await create_agent(database, "other")
    async with database.transaction() as session:
        broken = models.Canary(
            id=UUID(int=0),
            agent_id=other.id,
            adapter_id=canary.stable_id,
            stable_id=canary.stable_id,
            gates={"ramp": []},
            measures=[],
            weight=0.5,
            by="test",
            reason="a row that nobody should have written",
        )
        session.add(broken)
    await judging.judge_running(database, pool, now=LATER)
    async with database.transaction() as session:
        assert (await session.get_one(models.Canary, canary.id)).state is CanaryState.ROLLED_BACK


async def test_a_user_is_one_unit_and_who_named_none_is_one_each(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    for solved in (True, False, False):
        await met(database, canary, Arm.CANARY, solved=solved, user="ann")
    for _ in range(2):
        await met(database, canary, Arm.STABLE)
    await look(database, pool)
    found = await units(database)
    assert [(unit.arm, unit.outcomes["return"]) for unit in found] == [
        (Arm.CANARY, 1.0),
        (Arm.STABLE, 1.0),
        (Arm.STABLE, 1.0),
    ]


async def test_an_erased_conversation_leaves_its_unit_as_numbers_of_nobody(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    conversation = await met(database, canary, Arm.CANARY, reply="harmonica")
    await look(database, pool)
    async with database.transaction() as session:
        await erase(session, SIGNER, [conversation.id], subject=ErasureSubject.CONVERSATION, by="test")
    assert await traces_of(database, conversation.id.hex) == await traces_of(database, "harmonica") == []
    [unit] = await units(database)
    assert (unit.conversation_id, unit.outcomes["return"]) == (None, 1.0)
    seen = await look(database, pool)
    assert seen.evidence is not None
    assert seen.evidence["units"] == 1


async def test_an_outcome_that_never_came_is_missing_and_no_zero(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool)
    await met(database, canary, Arm.CANARY, solved=None, polite=None)
    seen = await look(database, pool)
    [unit] = await units(database)
    assert {"return", "polite"}.isdisjoint(unit.outcomes)
    assert seen.evidence is not None
    assert seen.evidence["gates"][0]["canary"] == {"told": 0, "missing": 1, "mean": None}


async def test_a_better_version_is_promoted_by_itself_and_the_record_says_why(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, False)] * 120)
    ended = await look(database, pool)
    assert (ended.state, ended.verdict) == (CanaryState.PROMOTED, "promote")
    assert await stable_now(database, agent) == "demo@v1"
    async with database.transaction() as session:
        events = await rollouts.list_events(session, agent.id)
    assert [event.kind for event in events] == ["canary", "promote"]
    evidence = events[-1].evidence["canary"]
    assert evidence["decision"] == "promote"
    assert evidence["gates"][0]["interval"][0] > 0
    assert await told(database) == ["canary", "verdict", "promote"]


async def test_where_a_person_has_the_say_a_verdict_is_told_once_and_nothing_moves(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="canary-then-ask")
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, False)] * 120)
    for _ in range(2):
        seen = await look(database, pool)
    assert (seen.state, seen.verdict) == (CanaryState.RUNNING, "promote")
    assert await stable_now(database, agent) == "demo@base"
    assert await told(database) == ["canary", "verdict"]
    await moving.promote(database, pool, V1, by="a person", reason="shown to be better")
    assert await stable_now(database, agent) == "demo@v1"


async def test_a_worse_version_is_rejected_by_itself_and_nobody_stays_on_it(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="canary-then-ask")
    canary = await begin(database, pool)
    await met_many(database, canary, [(False, True)] * 60)
    ended = await look(database, pool)
    assert (ended.state, ended.verdict) == (CanaryState.ROLLED_BACK, "roll_back")
    async with database.transaction() as session:
        version = await adapters.get_version(session, V1)
        still_open = await session.scalars(
            select(models.Episode.id).where(models.Episode.adapter_id == version.id, models.Episode.ended_at.is_(None))
        )
        assert still_open.all() == []
    assert version.state is AdapterState.REJECTED
    assert await stable_now(database, agent) == "demo@base"


async def test_a_guard_that_falls_rolls_back_a_version_that_earns_more(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    for number in range(60):
        await met(database, canary, Arm.CANARY, solved=True, polite=0.2)
        await met(database, canary, Arm.STABLE, solved=number % 2 == 0, polite=0.9)
    ended = await look(database, pool)
    assert (ended.state, ended.verdict) == (CanaryState.ROLLED_BACK, "roll_back")
    assert ended.evidence is not None
    assert ended.evidence["because_of"] == "polite"


async def test_the_share_rises_stage_by_stage_while_nothing_speaks_against_it(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool, weight=0.25)
    await met_many(database, canary, [(True, True), (False, False)] * 4)
    assert (await look(database, pool)).weight == 0.25
    await met_many(database, canary, [(True, True)] * 2)
    assert (await look(database, pool)).weight == 0.5
    assert (await look(database, pool)).weight == 0.5, "the next stage has no units yet"


async def test_nothing_moves_by_itself_where_trials_are_by_hand(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1")
    canary = await begin(database, pool, weight=0.25)
    await met_many(database, canary, [(False, True)] * 60)
    seen = await look(database, pool)
    assert (seen.state, seen.verdict, seen.weight) == (CanaryState.RUNNING, "roll_back", 0.25)


async def test_a_trial_that_shows_nothing_ends_and_its_version_retires(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto", most_units=12)
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, True), (False, False)] * 6)
    ended = await look(database, pool)
    assert (ended.state, ended.verdict) == (CanaryState.INCONCLUSIVE, "inconclusive")
    async with database.transaction() as session:
        assert (await adapters.get_version(session, V1)).state is AdapterState.RETIRED
    assert await stable_now(database, agent) == "demo@base"


async def test_replies_that_grow_hold_the_ramp_and_a_promotion_that_the_reward_would_grant(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    for number in range(120):
        promise = "It comes tomorrow, I promise, and it will be lovely. "
        await met(database, canary, Arm.CANARY, reply=promise * (6 + number % 4))
        await met(database, canary, Arm.STABLE, solved=False, reply="It comes tomorrow" + "!" * (number % 5))
    seen = await look(database, pool)
    assert (seen.state, seen.verdict) == (CanaryState.RUNNING, "promote")
    assert seen.evidence is not None
    ringing = [alarm["alarm"] for alarm in seen.evidence["alarms"] if alarm["rings"]]
    assert "longer replies" in ringing
    assert await stable_now(database, agent) == "demo@base"


async def test_a_version_that_silences_people_is_taken_back_though_those_who_speak_are_pleased(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    for number in range(80):
        await met(database, canary, Arm.CANARY, solved=True if number % 4 == 0 else None)
        await met(database, canary, Arm.STABLE, solved=number % 2 == 0)
    ended = await look(database, pool)
    assert (ended.state, ended.verdict) == (CanaryState.ROLLED_BACK, "roll_back")
    assert ended.evidence is not None
    assert ended.evidence["because_of"] == "silence"


async def test_the_newest_candidate_goes_on_trial_once_and_only_with_its_evidence(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    await judging.begin_waiting(database, pool)
    async with database.transaction() as session:
        assert (await rollouts.get_rollout(session, agent.id)).canary_id is None
        version = await adapters.get_version(session, V1)
    await evaluate(database, version, EvaluationState.PASSED)
    await judging.begin_waiting(database, pool)
    assert ((await trial(database)).weight, (await trial(database)).by) == (0.25, "canary")
    await trying.stop(database, V1, by="a person", reason="not today")
    await judging.begin_waiting(database, pool)
    assert (await trial(database)).state is CanaryState.STOPPED


async def test_two_workers_at_once_let_each_unit_enter_once_and_promote_once(
    database: Database, pool: EnginePool, tmp_path: Path, scripted_engine: ScriptedEngine
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, False)] * 80)
    await asyncio.gather(*(judging.judge_running(database, pool, now=LATER) for _ in range(4)))
    assert [unit.ordinal for unit in await units(database)] == list(range(160))
    async with database.transaction() as session:
        kinds = [event.kind for event in await rollouts.list_events(session, agent.id)]
    assert kinds == ["canary", "promote"]
    assert await told(database) == ["canary", "verdict", "promote"]


async def test_an_engine_that_is_away_leaves_the_verdict_for_the_next_pass(
    database: Database, pool: EnginePool, tmp_path: Path
) -> None:
    agent = await agent_with(database, tmp_path / "v1", promotion="auto")
    canary = await begin(database, pool)
    await met_many(database, canary, [(True, False)] * 80)
    async with open_pool(EngineSettings(engine_urls="http://127.0.0.1:9")) as nobody:
        seen = await look(database, nobody)
    assert (seen.state, seen.verdict) == (CanaryState.RUNNING, "promote")
    assert (await look(database, pool)).state is CanaryState.PROMOTED
    assert await stable_now(database, agent) == "demo@v1"

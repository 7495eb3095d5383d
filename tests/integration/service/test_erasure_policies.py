"""What an agent does with versions that learned from what was erased: keep them, learn again, or retire them."""

from dataclasses import dataclass
from typing import Any

import pytest

from core.domain.adapters import AdapterName, AdapterState
from core.domain.conversations import ConversationState
from core.domain.episodes import EpisodeEnd
from core.domain.erasure import ErasurePolicy
from core.domain.ids import Prefix, public
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import adapters, learner, residency, rollouts
from service.chat import identity
from tests.fixtures.builders import (
    create_adapter,
    create_agent,
    create_conversation,
    create_episode,
    create_turn,
)
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine


@dataclass
class Line:
    """demo@v1, v2 and v3: each went into service after the other, and each learned from one conversation."""

    agent: models.Agent
    teachers: list[str]
    runs: list[str]


async def teach(
    database: Database, agent: models.Agent, before: list[models.LearnerRun]
) -> tuple[str, models.LearnerRun]:
    conversation = await create_conversation(database, agent, state=ConversationState.MATURED)
    episode = await create_episode(database, conversation, ended_by=EpisodeEnd.CLOSED)
    turns = [await create_turn(database, episode) for _ in range(2)]
    async with database.transaction() as session:
        run = await learner.queue_run(session, agent.id, requested_by="test")
        assert run is not None
        lessons = [models.RunTurn(run_id=run.id, turn_id=turn.id, reward=0.0, trained_actor=True) for turn in turns]
        await learner.add_run_turns(session, lessons)
        run.state = models.RunState.SUCCEEDED
        run.critic_run_id = before[-1].id if before else None
    return public(Prefix.CONVERSATION, conversation.id), run


@pytest.fixture
async def line(database: Database, scripted_engine: ScriptedEngine) -> Line:
    agent = await create_agent(database, "demo")
    teachers: list[str] = []
    runs: list[models.LearnerRun] = []
    for number in (1, 2, 3):
        teacher, run = await teach(database, agent, runs)
        version = await create_adapter(database, agent, state=AdapterState.STABLE, run_id=run.id)
        async with database.transaction() as session:
            rollout = await rollouts.get_rollout(session, agent.id)
            (await session.get_one(models.LearnerRun, run.id)).adapter_id = version.id
            event = models.RolloutEvent(
                agent_id=agent.id,
                generation=rollout.generation,
                kind="promote",
                from_id=rollout.previous_id,
                to_id=version.id,
                by="test",
                reason="",
                evidence={},
            )
            await rollouts.add_event(session, event)
            await residency.note_proved(session, scripted_engine.url, version.id)
        scripted_engine.adapters[f"demo@v{number}"] = f"/adapters/{number}"
        teachers.append(teacher)
        runs.append(run)
    return Line(agent, teachers, [public(Prefix.RUN, run.id) for run in runs])


async def follow(gateway: RunningGateway, policy: str) -> None:
    changed = await gateway.admin.patch("/admin/agents/demo", json={"erasure": policy})
    assert (changed.status_code, changed.json()["erasure"]) == (200, policy)


async def erase(gateway: RunningGateway, conversation: str) -> dict[str, Any]:
    answer = await gateway.admin.delete(f"/conversations/{conversation}")
    assert answer.status_code == 200, answer.text
    consequences: dict[str, Any] = answer.json()["agents"][0]["consequences"]
    return consequences


async def versions(gateway: RunningGateway) -> list[tuple[str, str | None]]:
    found = (await gateway.admin.get("/admin/agents/demo/adapters")).json()["data"]
    return [(version["state"], version["taught_by_erased"]) for version in found]


async def stable(gateway: RunningGateway) -> str:
    name: str = (await gateway.admin.get("/admin/agents/demo/rollout")).json()["stable"]
    return name


async def test_kept_versions_are_marked_and_listed_and_serve_on(gateway: RunningGateway, line: Line) -> None:
    consequences = await erase(gateway, line.teachers[1])
    assert consequences["policy"] == "keep"
    assert consequences["runs"] == {line.runs[1]: 2}
    assert consequences["versions"] == [
        {"adapter": "demo@v2", "learned": "from it", "turns": 2, "marked": "keep"},
        {"adapter": "demo@v3", "learned": "from what had learned from it", "turns": 0, "marked": "keep"},
    ]
    assert (consequences["stable"], consequences["queued_run"]) == (None, None)
    assert await stable(gateway) == "demo@v3"
    assert await versions(gateway) == [("retired", None)] * 2 + [("retired", "keep"), ("stable", "keep")]
    lineage = (await gateway.admin.get("/admin/adapters/demo@v2/lineage")).json()
    assert (lineage["turns"], lineage["erased_turns"], lineage["data"]) == (0, 2, [])


async def test_versions_are_retired_at_once_and_their_conversations_go_on_with_the_newest_that_is_clean(
    gateway: RunningGateway, line: Line, database: Database
) -> None:
    await follow(gateway, "retire")
    open_turn = {"agent": "demo", "message": "hello", "conversation_id": "open"}
    assert (await gateway.chat.post("/chat", json=open_turn)).json()["adapter"] == "demo@v3"
    consequences = await erase(gateway, line.teachers[1])
    assert (consequences["stable"], consequences["queued_run"]) == ("demo@v1", None)
    assert await stable(gateway) == "demo@v1"
    assert await versions(gateway) == [
        ("retired", None),
        ("stable", None),
        ("retired", "retire"),
        ("retired", "retire"),
    ]
    assert (await gateway.chat.post("/chat", json=open_turn)).json()["adapter"] == "demo@v1"
    episodes = (await gateway.chat.get("/conversations/open")).json()["episodes"]
    assert [(episode["adapter"], episode["ended_by"]) for episode in episodes] == [
        ("demo@v3", "erased"),
        ("demo@v1", None),
    ]
    refused = await gateway.admin.post("/admin/adapters/demo@v2/promote", json={"reason": "a test", "force": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "taught_by_erased")
    async with database.transaction() as session:
        events = await rollouts.list_events(session, line.agent.id)
    assert (events[-1].kind, events[-1].reason) == ("erasure", "what it learned from was erased")


async def test_the_first_version_is_retired_to_the_base_model(gateway: RunningGateway, line: Line) -> None:
    await follow(gateway, "retire")
    consequences = await erase(gateway, line.teachers[0])
    assert consequences["stable"] == "demo@base"
    assert len(consequences["versions"]) == 3
    again = await gateway.admin.post("/admin/agents/demo/rollback")
    assert again.json()["error"]["code"] == "nothing_to_roll_back_to"


async def test_learning_again_keeps_the_version_in_service_and_bars_the_way_back_to_a_marked_one(
    gateway: RunningGateway, line: Line, database: Database
) -> None:
    await follow(gateway, "retrain")
    consequences = await erase(gateway, line.teachers[1])
    runs = (await gateway.admin.get("/admin/agents/demo/runs")).json()["data"]
    assert (runs[0]["run_id"], runs[0]["state"]) == (consequences["queued_run"], "queued")
    assert await stable(gateway) == "demo@v3"
    back = await gateway.admin.post("/admin/agents/demo/rollback")
    assert back.json()["stable"] == "demo@v1"  # v2, which came before, is marked
    refused = await gateway.admin.post("/admin/adapters/demo@v3/promote", json={"reason": "a test", "force": True})
    assert refused.json()["error"]["code"] == "taught_by_erased"


async def test_a_mark_is_never_weakened_and_learning_again_is_asked_for_once(
    gateway: RunningGateway, line: Line, database: Database
) -> None:
    await follow(gateway, "retrain")
    assert (await erase(gateway, line.teachers[2]))["queued_run"] is not None
    async with database.transaction() as session:
        run = await learner.newest_run(session, line.agent.id)
        assert run is not None
        run.state = models.RunState.SKIPPED
    await follow(gateway, "keep")
    assert (await erase(gateway, line.teachers[1]))["queued_run"] is None
    assert await versions(gateway) == [("retired", None)] * 2 + [("retired", "keep"), ("stable", "retrain")]


async def test_nobody_starts_on_a_retired_version_that_routing_still_names(line: Line, database: Database) -> None:
    conversation = await create_conversation(database, line.agent)
    speaker = identity.Speaker(line.agent.id, conversation.key_id, None, None)
    messages = [{"role": "user", "content": "hello"}]
    heads = identity.Heads.of(speaker, messages)
    async with database.transaction() as session:
        retired = await adapters.get_version(session, AdapterName("demo", 3))
        retired.taught_by_erased = ErasurePolicy.RETIRE
        clean = await adapters.get_version(session, AdapterName("demo", 1))
        (await rollouts.get_rollout(session, line.agent.id)).stable_id = clean.id
    async with database.transaction() as session:
        stale = rollouts.Route(line.agent, retired.id, AdapterName("demo", 3), 1)
        place = await identity.take_place(session, conversation, messages, heads, stale, None)
    assert str(place.adapter) == "demo@v1"


@pytest.mark.parametrize("change", [{"erasure": "forget"}, {"retention_days": 0}, {"retention_days": -1}])
async def test_a_policy_that_makes_no_sense_is_refused(
    gateway: RunningGateway, line: Line, change: dict[str, Any]
) -> None:
    assert (await gateway.admin.patch("/admin/agents/demo", json=change)).status_code == 422


async def test_retention_is_set_and_cleared(gateway: RunningGateway, line: Line) -> None:
    for days in (30, None):
        changed = await gateway.admin.patch("/admin/agents/demo", json={"retention_days": days})
        assert changed.json()["retention_days"] == days

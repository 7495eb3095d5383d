"""Trials over HTTP: a share of new conversations meets a version, sticky, logged, refused where it makes no sense."""

from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.episodes import Arm
from core.domain.suites import fingerprint
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine

FORCED = {"reason": "a test", "force": True}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


@pytest.fixture(autouse=True)
async def candidate(database: Database, agent: models.Agent, tmp_path: Path) -> models.AdapterVersion:
    return await register(database, agent, tmp_path / "v1")


async def try_on(gateway: RunningGateway, weight: float, adapter: str = "demo@v1", **more: object) -> tuple[int, str]:
    answer = await gateway.admin.post(f"/admin/adapters/{adapter}/canary", json={"weight": weight, **FORCED, **more})
    return answer.status_code, answer.json().get("error", {}).get("code", answer.json().get("canary"))


async def served_by(gateway: RunningGateway, *, conversation: str | None = None, user: str | None = None) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "user": user}
    headers = {"X-Conversation-Id": conversation} if conversation else {}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"]


async def state_of(gateway: RunningGateway, adapter: str) -> str:
    return (await gateway.admin.get(f"/admin/adapters/{adapter}")).json()["state"]


async def kinds(gateway: RunningGateway) -> list[str]:
    events = (await gateway.admin.get("/admin/agents/demo/rollout/events")).json()["data"]
    return [event["kind"] for event in events]


async def test_half_of_the_new_conversations_meet_the_version_and_each_episode_says_why(
    gateway: RunningGateway, database: Database, candidate: models.AdapterVersion
) -> None:
    assert await try_on(gateway, 0.5) == (200, "demo@v1")
    assert await state_of(gateway, "demo@v1") == "canary"
    met = Counter([await served_by(gateway) for _ in range(40)])
    assert set(met) == {"demo@base", "demo@v1"}
    async with database.transaction() as session:
        episodes = (await session.scalars(select(models.Episode))).all()
    arms = {(episode.arm, episode.adapter_id == candidate.id) for episode in episodes}
    assert arms == {(Arm.STABLE, False), (Arm.CANARY, True)}
    assert {episode.propensity for episode in episodes} == {0.5}
    assert len({episode.canary_id for episode in episodes}) == 1


async def test_a_user_meets_one_version_in_all_conversations_and_a_conversation_in_all_turns(
    gateway: RunningGateway,
) -> None:
    await try_on(gateway, 0.5)
    for user in ("ann", "bob", "cem", "dua"):
        assert len({await served_by(gateway, user=user) for _ in range(4)}) == 1
    for name in ("one", "two", "three", "four"):
        assert len({await served_by(gateway, conversation=name) for _ in range(3)}) == 1


async def test_running_conversations_stay_where_they_are_whatever_becomes_of_the_trial(
    gateway: RunningGateway,
) -> None:
    before = await served_by(gateway, conversation="before")
    await try_on(gateway, 1.0)
    assert await served_by(gateway, conversation="before") == before == "demo@base"
    assert await served_by(gateway, conversation="during") == "demo@v1"
    assert await try_on(gateway, 0.0) == (200, None)
    assert await served_by(gateway, conversation="during") == "demo@v1"
    assert await served_by(gateway, conversation="after") == "demo@base"
    assert await state_of(gateway, "demo@v1") == "candidate"
    assert await kinds(gateway) == ["canary", "canary_end"]


async def test_the_share_may_be_changed_and_an_episode_keeps_what_it_was_drawn_with(
    gateway: RunningGateway, database: Database
) -> None:
    await try_on(gateway, 0.25)
    for _ in range(4):
        await served_by(gateway)
    assert await try_on(gateway, 0.75) == (200, "demo@v1")
    assert (await gateway.admin.get("/admin/agents/demo/rollout")).json()["weight"] == 0.75
    async with database.transaction() as session:
        drawn = (await session.scalars(select(models.Episode.propensity))).all()
    assert set(drawn) <= {0.25, 0.75}
    assert await kinds(gateway) == ["canary", "ramp"]


async def test_promoting_the_version_ends_its_trial_and_keeps_its_episodes(gateway: RunningGateway) -> None:
    await try_on(gateway, 1.0)
    assert await served_by(gateway, conversation="during") == "demo@v1"
    promoted = await gateway.admin.post("/admin/adapters/demo@v1/promote", json=FORCED)
    assert (promoted.json()["stable"], promoted.json()["canary"], promoted.json()["weight"]) == ("demo@v1", None, 0.0)
    assert await state_of(gateway, "demo@v1") == "stable"
    trials = (await gateway.admin.get("/admin/agents/demo/canaries")).json()["data"]
    assert [(trial["adapter"], trial["beside"], trial["state"]) for trial in trials] == [
        ("demo@v1", "demo@base", "promoted")
    ]


async def test_rejecting_the_version_on_trial_leaves_nobody_on_it(gateway: RunningGateway) -> None:
    await try_on(gateway, 1.0)
    assert await served_by(gateway, conversation="during") == "demo@v1"
    assert (await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})).status_code == 200
    assert await served_by(gateway, conversation="during") == "demo@base"
    rollout = (await gateway.admin.get("/admin/agents/demo/rollout")).json()
    assert (rollout["stable"], rollout["canary"], rollout["weight"]) == ("demo@base", None, 0.0)
    trial = (await gateway.admin.get("/admin/agents/demo/canaries")).json()["data"][0]
    assert trial["state"] == "rolled_back"
    assert await try_on(gateway, 0.5) == (409, "adapter_rejected")


async def test_a_second_trial_a_stable_version_and_the_base_model_are_refused(
    gateway: RunningGateway, database: Database, agent: models.Agent, tmp_path: Path
) -> None:
    await register(database, agent, tmp_path / "v2")
    await try_on(gateway, 0.5)
    assert await try_on(gateway, 0.5, "demo@v2") == (409, "canary_running")
    await gateway.admin.post("/admin/adapters/demo@v1/promote", json=FORCED)
    assert await try_on(gateway, 0.5) == (409, "already_stable")
    assert await try_on(gateway, 0.5, "demo@base") == (409, "base_needs_no_trial")
    assert await try_on(gateway, 0.5, "demo@v9") == (404, "adapter_not_found")


async def test_a_rejected_version_is_what_no_rollback_ends_at(
    gateway: RunningGateway, database: Database, agent: models.Agent, tmp_path: Path
) -> None:
    async def promote(adapter: str) -> None:
        answer = await gateway.admin.post(f"/admin/adapters/{adapter}/promote", json=FORCED)
        assert answer.status_code == 200, answer.text

    await register(database, agent, tmp_path / "v2")
    for adapter in ("demo@v1", "demo@v2"):
        await promote(adapter)
    assert await try_on(gateway, 0.5) == (200, "demo@v1")
    await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})
    back = await gateway.admin.post("/admin/agents/demo/rollback")
    assert back.json()["stable"] == "demo@base"

    await register(database, agent, tmp_path / "v3")
    await register(database, agent, tmp_path / "v4")
    for adapter in ("demo@v3", "demo@v4", "demo@v3"):
        await promote(adapter)
    await gateway.admin.post("/admin/adapters/demo@v3/reject", json={"reason": "rude"})
    assert (await gateway.admin.get("/admin/agents/demo/rollout")).json()["stable"] == "demo@v4"
    back = await gateway.admin.post("/admin/agents/demo/rollback")
    assert (back.status_code, back.json().get("stable")) == (200, "demo@base")


@pytest.mark.parametrize("weight", [-0.1, 1.1, "half", None])
async def test_a_weight_that_is_no_share_is_refused(gateway: RunningGateway, weight: object) -> None:
    answer = await gateway.admin.post("/admin/adapters/demo@v1/canary", json={"weight": weight, **FORCED})
    assert answer.status_code == 422
    assert (await gateway.admin.get("/admin/agents/demo/rollout")).json()["canary"] is None


async def test_what_is_forced_says_why(gateway: RunningGateway) -> None:
    for path in ("promote", "canary"):
        answer = await gateway.admin.post(
            f"/admin/adapters/demo@v1/{path}", json={"force": True} | ({"weight": 0.5} if path == "canary" else {})
        )
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "reason")


async def test_a_candidate_without_evidence_is_refused_with_what_is_missing(
    gateway: RunningGateway, database: Database, candidate: models.AdapterVersion
) -> None:
    refused = await gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "better"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "evidence_missing")
    assert "no offline evidence yet; no canary has shown it to be better" in refused.json()["error"]["message"]
    assert await try_on(gateway, 0.5, force=False) == (409, "evidence_missing")

    await evaluate(database, candidate, EvaluationState.WORSE)
    refused = await gateway.admin.post("/admin/adapters/demo@v1/canary", json={"weight": 0.5})
    assert "offline evidence says that it is worse: told by a test" in refused.json()["error"]["message"]

    await evaluate(database, candidate, EvaluationState.UNDECIDED)
    assert await try_on(gateway, 0.5, force=False) == (200, "demo@v1")
    refused = await gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "better"})
    assert "its canary has no verdict yet" in refused.json()["error"]["message"]


async def evaluate(database: Database, version: models.AdapterVersion, state: EvaluationState) -> None:
    async with database.transaction() as session:
        session.add(
            models.Evaluation(
                agent_id=version.agent_id,
                adapter_id=version.id,
                kind=EvaluationKind.OFFLINE,
                state=state,
                reason="told by a test",
            )
        )


async def test_what_was_in_service_before_needs_no_evidence_again(gateway: RunningGateway) -> None:
    await gateway.admin.post("/admin/adapters/demo@v1/promote", json=FORCED)
    await gateway.admin.post("/admin/agents/demo/rollback")
    again = await gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "once more"})
    assert (again.status_code, again.json()["stable"]) == (200, "demo@v1")
    events = (await gateway.admin.get("/admin/agents/demo/rollout/events")).json()["data"]
    first, last = events[0], events[-1]
    assert len(first["evidence"]["forced_without"]) == 2
    assert last["evidence"]["forced_without"] == []


async def test_an_engine_that_lies_about_having_loaded_gets_no_trial(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.lies = True
    assert await try_on(gateway, 0.5) == (409, "probe_failed")
    assert await state_of(gateway, "demo@v1") == "candidate"


async def test_a_share_is_held_out_with_the_version_before(gateway: RunningGateway) -> None:
    changed = await gateway.admin.patch("/admin/agents/demo", json={"gates": {"holdout": 0.5}})
    assert changed.json()["gates"]["holdout"] == 0.5
    assert {await served_by(gateway) for _ in range(10)} == {"demo@base"}, "nothing was promoted yet"
    await gateway.admin.post("/admin/adapters/demo@v1/promote", json=FORCED)
    assert {await served_by(gateway) for _ in range(30)} == {"demo@base", "demo@v1"}


@pytest.mark.parametrize(
    "gates",
    [
        {"promotion": "whenever"},
        {"ramp": [0.5, 0.1]},
        {"ramp": [2]},
        {"error": 0},
        {"holdout": 1},
        {"margins": {"reward": 0.1}},
        {"speed": 1},
    ],
)
async def test_gates_that_make_no_sense_are_refused(gateway: RunningGateway, gates: dict[str, object]) -> None:
    assert (await gateway.admin.patch("/admin/agents/demo", json={"gates": gates})).status_code == 422
    assert (await gateway.admin.get("/admin/agents/demo")).json()["gates"] == {}


async def test_a_guard_without_a_range_cannot_be_guarded_automatically(gateway: RunningGateway) -> None:
    metrics = [{"name": "reward"}, {"name": "speed", "weight": 0, "guard": True}]
    answer = await gateway.admin.patch("/admin/agents/demo", json={"metrics": metrics, "gates": {"promotion": "auto"}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "metrics")


async def test_a_suite_that_failed_or_was_never_run_or_has_changed_keeps_a_candidate_from_people(
    gateway: RunningGateway, database: Database, candidate: models.AdapterVersion
) -> None:
    suite = [{"name": "greets", "prompt": "Hello", "checks": {"contains": "hello"}}]
    changed = await gateway.admin.patch("/admin/agents/demo", json={"suite": suite})
    assert changed.status_code == 200, changed.text
    await evaluate(database, candidate, EvaluationState.PASSED)

    async def missing() -> str:
        refused = await gateway.admin.post("/admin/adapters/demo@v1/canary", json={"weight": 0.5})
        return str(refused.json().get("error", {}).get("message", refused.status_code))

    assert "the suite has not been run yet" in await missing()
    known = fingerprint(changed.json()["suite"], None)
    await judge_suite(database, candidate, EvaluationState.FAILED, known)
    assert "the suite failed: greets" in await missing()
    await judge_suite(database, candidate, EvaluationState.PASSED, "another suite")
    assert "the suite has changed since it was run" in await missing()
    await judge_suite(database, candidate, EvaluationState.PASSED, known)
    assert await missing() == "200"
    again = [{"name": "greets", "prompt": "Hi", "checks": {"contains": "hello"}}]
    await gateway.admin.patch("/admin/agents/demo", json={"suite": again})
    state = (await gateway.admin.get("/admin/adapters/demo@v1")).json()["evidence"]["suite"]["state"]
    assert state == "queued", "a version on its way is asked what is asked today"
    await judge_suite(database, candidate, EvaluationState.PASSED, known)
    evidence = (await gateway.admin.get("/admin/adapters/demo@v1")).json()["evidence"]
    assert (evidence["suite"]["state"], evidence["offline"]["state"], evidence["canary"]["state"]) == (
        "passed",
        "passed",
        "running",
    )


async def judge_suite(database: Database, version: models.AdapterVersion, state: EvaluationState, asked: str) -> None:
    """The newest look becomes this."""
    async with database.transaction() as session:
        row = (await evaluations.newest(session, version.id))[EvaluationKind.SUITE]
        row.state, row.reason, row.figures = state, "greets", {"suite": asked}

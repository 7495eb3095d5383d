"""Versions over HTTP: promoted after load and probe, followed by every gateway, rolled back, rejected, refused."""

import asyncio
import time
from pathlib import Path

import pytest

from core.domain.adapters import AdapterName, AdapterState
from core.engine.pool import open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import adapters, rollouts
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.registered import register
from tests.fixtures.scripted_engine import ScriptedEngine

FOLLOW_SECONDS = 2.0


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


@pytest.fixture
async def candidate(database: Database, agent: models.Agent, tmp_path: Path) -> Path:
    """The folder of `demo@v1`; the scripted engine never opens it."""
    await register(database, agent, tmp_path / "v1")
    return tmp_path / "v1"


async def promote(gateway: RunningGateway, adapter: str) -> tuple[int, str]:
    answer = await gateway.admin.post(f"/admin/adapters/{adapter}/promote", json={"reason": "better", "force": True})
    return answer.status_code, answer.json().get("error", {}).get("code", answer.json().get("stable"))


async def served_by(gateway: RunningGateway, conversation: str | None = None) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1}
    headers = {"X-Conversation-Id": conversation} if conversation else {}
    answer = await gateway.chat.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Adapter"]


async def test_a_promoted_version_meets_new_conversations_and_leaves_running_ones_alone(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    assert await served_by(gateway, "running") == "demo@base"
    assert await promote(gateway, "demo@v1") == (200, "demo@v1")
    assert scripted_engine.adapters == {"demo@v1": str(candidate)}
    assert await served_by(gateway, "new") == "demo@v1"
    assert await served_by(gateway, "running") == "demo@base"
    assert await promote(gateway, "demo@v1") == (200, "demo@v1")
    rollout = (await gateway.admin.get("/admin/agents/demo/rollout")).json()
    assert (rollout["stable"], rollout["canary"], rollout["weight"], rollout["reason"]) == (
        "demo@v1",
        None,
        0,
        "better",
    )
    listed = (await gateway.admin.get("/admin/agents/demo/adapters")).json()["data"]
    assert [(row["adapter"], row["state"]) for row in listed] == [("demo@base", "retired"), ("demo@v1", "stable")]

    back = await gateway.admin.post("/admin/agents/demo/rollback", json={"reason": "worse"})
    assert back.json()["stable"] == "demo@base"
    assert await served_by(gateway, "newest") == "demo@base"
    assert await served_by(gateway, "new") == "demo@v1"
    again = await gateway.admin.post("/admin/agents/demo/rollback")
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "nothing_to_roll_back_to"


async def test_every_gateway_follows_each_move_within_two_seconds(
    gateway: RunningGateway, start_gateway: StartGateway, scripted_engine: ScriptedEngine, candidate: Path
) -> None:
    async with start_gateway(scripted_engine.url) as second:
        for stable in ("demo@v1", "demo@base") * 5:
            assert await promote(gateway, stable) == (200, stable)
            moved = time.monotonic()
            while await served_by(second) != stable:
                assert time.monotonic() - moved < FOLLOW_SECONDS


async def test_promotions_at_once_move_the_pointer_once_each_and_never_leave_two_stable(
    gateway: RunningGateway, database: Database, agent: models.Agent, candidate: Path, tmp_path: Path
) -> None:
    await register(database, agent, tmp_path / "v2")
    names = ["demo@v1", "demo@v2"] * 3
    answers = await asyncio.gather(*(promote(gateway, name) for name in names))
    assert {status for status, _ in answers} <= {200, 409}
    assert 200 in {status for status, _ in answers}
    states = [row["state"] for row in (await gateway.admin.get("/admin/agents/demo/adapters")).json()["data"]]
    assert states.count("stable") == 1


async def test_an_engine_that_lies_about_having_loaded_is_seen_through(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.lies = True
    assert await promote(gateway, "demo@v1") == (409, "probe_failed")
    assert await served_by(gateway) == "demo@base"


async def test_a_damaged_a_rejected_and_an_unknown_version_are_refused(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    (candidate / "adapter_model.safetensors").write_bytes(b"other")
    assert await promote(gateway, "demo@v1") == (409, "damaged_adapter")
    (candidate / "adapter_model.safetensors").unlink()
    assert await promote(gateway, "demo@v1") == (409, "damaged_adapter")
    assert scripted_engine.adapters == {}
    for unknown in ("demo@v9", "nobody@v1", "demo@v01", "..%2F..%2Fetc"):
        assert (await promote(gateway, unknown))[0] == 404
    rejected = await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})
    assert rejected.json()["state"] == "rejected"
    assert await promote(gateway, "demo@v1") == (409, "adapter_rejected")
    forced = await gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "please", "force": True})
    assert forced.status_code == 409
    assert (await gateway.admin.post("/admin/adapters/demo@base/reject")).status_code == 409


async def test_nothing_is_promoted_while_every_engine_is_down(
    start_gateway: StartGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "away"
    async with start_gateway(f"{scripted_engine.url},http://127.0.0.1:9") as gateway:
        assert await promote(gateway, "demo@v1") == (503, "no_healthy_engine")
        scripted_engine.fault = None
        assert await promote(gateway, "demo@v1") == (200, "demo@v1")


async def test_rejecting_the_stable_version_goes_back_and_cuts_what_it_serves(
    gateway: RunningGateway, candidate: Path
) -> None:
    await promote(gateway, "demo@v1")
    assert await served_by(gateway, "cut") == "demo@v1"
    answer = await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})
    assert answer.status_code == 200
    assert await served_by(gateway, "cut") == "demo@base"
    found = (await gateway.chat.get("/conversations/cut")).json()
    assert [(e["adapter"], e["ended_by"]) for e in found["episodes"]] == [("demo@v1", "rejected"), ("demo@base", None)]


async def test_a_rejected_version_may_finish_what_it_serves(gateway: RunningGateway, candidate: Path) -> None:
    await promote(gateway, "demo@v1")
    assert await served_by(gateway, "kept") == "demo@v1"
    await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"open": "finish"})
    assert await served_by(gateway, "kept") == "demo@v1"
    assert await served_by(gateway, "new") == "demo@base"


async def test_what_a_rejected_version_may_finish_can_still_be_cut_and_that_is_told_once(
    gateway: RunningGateway, candidate: Path
) -> None:
    await promote(gateway, "demo@v1")
    assert await served_by(gateway, "kept") == "demo@v1"
    for then in ("finish", "finish", "cut", "cut"):
        await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"open": then, "reason": f"to {then}"})
    assert await served_by(gateway, "kept") == "demo@base"
    events = (await gateway.admin.get("/admin/agents/demo/rollout/events")).json()["data"]
    told = [(event["reason"], event["evidence"]["open"]) for event in events if event["kind"] == "reject"]
    assert sorted(told) == [("to cut", "cut"), ("to finish", "finish")]
    noted = (await gateway.admin.get("/admin/audit")).json()["data"]
    assert [entry["action"] for entry in noted].count("rollout.reject") == 2


async def test_an_engine_that_restarted_is_given_the_version_that_a_conversation_needs(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    await promote(gateway, "demo@v1")
    scripted_engine.adapters.clear()
    assert await served_by(gateway) == "demo@v1"
    assert scripted_engine.adapters == {"demo@v1": str(candidate)}


async def test_a_pinned_version_answers_an_admin_and_counts_in_no_experiment(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine
) -> None:
    body = {"model": "demo@v1", "messages": [{"role": "user", "content": "x"}], "metadata": {"conversation_id": "pin"}}
    answer = await gateway.admin.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "demo@v1 heard x"
    found = (await gateway.admin.get("/conversations/pin")).json()
    assert [(e["adapter"], e["arm"]) for e in found["episodes"]] == [("demo@v1", "pinned")]
    unknown = await gateway.admin.post("/v1/chat/completions", json=body | {"model": "demo@v7"})
    assert unknown.status_code == 404


async def test_a_version_that_was_rolled_back_leaves_the_engine_once_nobody_needs_it(
    gateway: RunningGateway, candidate: Path, scripted_engine: ScriptedEngine, database: Database
) -> None:
    await promote(gateway, "demo@v1")
    assert await served_by(gateway, "last") == "demo@v1"
    await gateway.admin.post("/admin/agents/demo/rollback")
    settings = EngineSettings(engine_urls=scripted_engine.url, engine_timeout_seconds=0.5)
    async with open_pool(settings) as pool:
        await reconciling.reconcile(database, pool)
        assert list(scripted_engine.adapters) == ["demo@v1"]
        await gateway.chat.post("/conversations/last/close")
        await asyncio.sleep(0.5)
        await reconciling.reconcile(database, pool)
        assert list(scripted_engine.adapters) == []


async def test_a_conversation_that_raced_a_rejection_does_not_start_on_the_rejected_version(
    gateway: RunningGateway, candidate: Path, database: Database
) -> None:
    await promote(gateway, "demo@v1")
    # A rejection that this gateway has not heard of: its routing table still says v1.
    async with database.transaction() as session:
        version = await adapters.get_version(session, AdapterName("demo", 1))
        rollout = await rollouts.lock_rollout(session, version.agent_id)
        assert rollout.previous_id is not None
        rollout.stable_id, version.state = rollout.previous_id, AdapterState.REJECTED
    assert await served_by(gateway, "raced") == "demo@base"


async def test_rejecting_and_rolling_back_at_once_ends_without_a_deadlock(
    gateway: RunningGateway, candidate: Path
) -> None:
    for _ in range(5):
        await promote(gateway, "demo@v1")
        answers = await asyncio.gather(
            gateway.admin.post("/admin/agents/demo/rollback"),
            gateway.admin.post("/admin/adapters/demo@v1/promote", json={"reason": "again", "force": True}),
            gateway.admin.post("/admin/agents/demo/rollback"),
        )
        assert {answer.status_code for answer in answers} <= {200, 409}
    last = await asyncio.gather(
        gateway.admin.post("/admin/adapters/demo@v1/reject"), gateway.admin.post("/admin/agents/demo/rollback")
    )
    assert {answer.status_code for answer in last} <= {200, 409}
    assert (await gateway.admin.get("/admin/agents/demo/rollout")).json()["stable"] == "demo@base"

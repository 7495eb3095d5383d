"""The log of what administrators did: each act once, in its transaction, without secrets, as far as a key may see."""

from typing import Any

import pytest
from sqlalchemy import text

from core.domain.adapters import AdapterState
from core.domain.ids import Prefix, public
from core.domain.keys import Scope
from core.storage.database import Database
from core.storage.repositories.agents import get_agent
from tests.fixtures.builders import create_adapter, create_agent, create_key
from tests.fixtures.gateway import RunningGateway, client

SAY = {"model": "demo", "messages": [{"role": "user", "content": "a secret of a user"}], "user": "ann"}


@pytest.fixture(autouse=True)
async def agents(database: Database) -> None:
    await create_agent(database, "demo")
    await create_agent(database, "other")


async def acts(gateway: RunningGateway, **query: Any) -> list[dict[str, Any]]:
    """Newest first, without what a fixture did."""
    listed = await gateway.admin.get("/admin/audit", params=query)
    assert listed.status_code == 200, listed.text
    return [act for act in listed.json()["data"] if act["by"] != "test"]


async def test_what_is_done_to_a_key_is_noted_with_who_did_it(gateway: RunningGateway, database: Database) -> None:
    async with database.transaction() as session:
        mine = await session.scalar(text("SELECT id FROM api_keys WHERE scopes = '{admin}'"))
    made = (await gateway.admin.post("/admin/keys", json={"scopes": ["chat"], "agents": ["demo"]})).json()
    path = f"/admin/keys/{made['key_id']}"
    await gateway.admin.patch(path, json={"limits": {"tokens_per_day": 5}})
    rotated = (await gateway.admin.post(f"{path}/rotate", json={"grace_seconds": 60})).json()
    await gateway.admin.delete(path)
    await gateway.admin.delete(path)  # changes nothing
    found = await acts(gateway)
    assert [act["action"] for act in found] == ["key.revoke", "key.rotate", "key.change", "key.create"]
    assert {act["by"] for act in found} == {public(Prefix.KEY, mine)}
    assert {act["subject"] for act in found} == {made["key_id"]}
    assert [act["agents"] for act in found] == [["demo"]] * 4
    assert found[2]["details"] == {"fields": ["limits"]}
    for secret in (made["secret"], rotated["secret"]):
        assert secret not in str(found)


async def test_what_is_done_to_an_agent_and_its_people_is_noted_without_their_words(
    gateway: RunningGateway, database: Database
) -> None:
    await gateway.admin.post("/admin/agents", json={"name": "third", "base_model": "tiny"})
    await gateway.admin.patch("/admin/agents/demo", json={"system_prompt": "a secret prompt"})
    await gateway.admin.post("/admin/agents/demo/learn")
    await gateway.chat.post("/v1/chat/completions", json=SAY)
    await gateway.admin.delete("/users/ann")
    await gateway.admin.delete("/users/ann")  # the same report again
    found = await acts(gateway)
    assert [(act["action"], act["agents"]) for act in found] == [
        ("erase.user", ["demo"]),
        ("run.queue", ["demo"]),
        ("agent.change", ["demo"]),
        ("agent.create", ["third"]),
    ]
    assert "secret" not in str(found)
    assert "ann" not in str(found)


async def test_what_moves_a_rollout_is_noted_with_the_version(gateway: RunningGateway, database: Database) -> None:
    async with database.transaction() as session:
        agent = await get_agent(session, "demo")
    await create_adapter(database, agent, state=AdapterState.CANDIDATE)
    rejected = await gateway.admin.post("/admin/adapters/demo@v1/reject", json={"reason": "rude"})
    assert rejected.status_code == 200, rejected.text
    (act,) = await acts(gateway)
    assert (act["action"], act["subject"], act["agents"]) == ("rollout.reject", "demo@v1", ["demo"])


async def test_a_refused_act_leaves_no_note(gateway: RunningGateway) -> None:
    for method, path, body in (
        ("POST", "/admin/agents", {"name": "demo", "base_model": "tiny"}),
        ("PATCH", "/admin/agents/demo", {"base_model": "huge"}),
        ("POST", "/admin/agents/demo/rollback", {}),
        ("DELETE", "/admin/keys/key_" + "0" * 32, None),
    ):
        assert (await gateway.admin.request(method, path, json=body)).status_code in (404, 409)
    assert await acts(gateway) == []


async def test_a_key_of_some_agents_sees_what_touched_them_and_nothing_of_others(
    gateway: RunningGateway, database: Database
) -> None:
    await gateway.admin.post("/admin/keys", json={"scopes": ["chat"], "agents": ["demo", "other"]})
    await gateway.admin.post("/admin/keys", json={"scopes": ["chat"]})
    await gateway.admin.patch("/admin/agents/other", json={"discount": 0.5})
    await gateway.admin.patch("/admin/agents/demo", json={"discount": 0.5})
    secret, _ = await create_key(database, Scope.ADMIN, agents=["demo"])
    async with client(gateway.url, secret) as ours:
        found = (await ours.get("/admin/audit")).json()["data"]
        assert [act["action"] for act in found if act["by"] != "test"] == ["agent.change", "key.create"]
        assert "other" not in str(found)
        assert (await ours.get("/admin/audit?agent=other")).status_code == 404


async def test_the_log_is_read_by_pages_and_by_what_was_done(gateway: RunningGateway) -> None:
    for _ in range(3):
        await gateway.admin.patch("/admin/agents/demo", json={"discount": 0.5})
    await gateway.admin.patch("/admin/agents/other", json={"discount": 0.5})
    assert len(await acts(gateway, action="agent.change", agent="demo")) == 3
    first = (await gateway.admin.get("/admin/audit", params={"limit": 3})).json()
    second = (await gateway.admin.get("/admin/audit", params={"limit": 3, "after": first["next"]})).json()
    ids = [act["audit_id"] for page in (first, second) for act in page["data"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 6

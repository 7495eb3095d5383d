"""Agents, learner runs and health over HTTP."""

import asyncio

import httpx
import pytest
from sqlalchemy import text

from core.storage.database import Database
from core.storage.models import RunState
from core.storage.repositories import learner
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine


async def test_a_new_agent_is_served_by_its_base_model_at_once(gateway: RunningGateway) -> None:
    made = await gateway.admin.post(
        "/admin/agents", json={"name": "shop", "metrics": [{"name": "sold", "kind": "boolean"}]}
    )
    assert made.status_code == 201, made.text
    assert made.json()["base_model"] == "tiny"
    assert made.json()["schedule"] == {"enabled": True, "min_conversations": 24, "min_seconds": 900.0}
    assert [card["id"] for card in (await gateway.chat.get("/v1/models")).json()["data"]] == ["shop"]
    answer = await gateway.chat.post("/chat", json={"agent": "shop", "message": "hello"})
    assert answer.json()["adapter"] == "shop@base"
    assert (await gateway.admin.post("/admin/agents", json={"name": "shop"})).status_code == 409


async def test_a_change_touches_only_what_it_names(gateway: RunningGateway) -> None:
    body = {"name": "shop", "system_prompt": "Sell.", "discount": 0.9, "metrics": [{"name": "sold", "weight": 2}]}
    await gateway.admin.post("/admin/agents", json=body)
    changed = await gateway.admin.patch("/admin/agents/shop", json={"discount": 0.8, "metrics": [{"name": "rated"}]})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["discount"], changed.json()["system_prompt"]) == (0.8, "Sell.")
    assert [metric["name"] for metric in changed.json()["metrics"]] == ["rated"]
    cleared = await gateway.admin.patch("/admin/agents/shop", json={"system_prompt": None})
    assert cleared.json()["system_prompt"] is None
    assert [agent["name"] for agent in (await gateway.admin.get("/admin/agents")).json()["data"]] == ["shop"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "../etc"}, 422),
        ({"name": "UPPER"}, 422),
        ({"name": "a@b"}, 422),
        ({"name": "ok", "typo": 1}, 422),
        ({"name": "ok", "discount": 1.5}, 422),
        ({"name": "ok", "metrics": [{"name": "a"}, {"name": "a"}]}, 422),
        ({"name": "ok", "metrics": [{"name": "reward", "kind": "boolean"}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "low": 2, "high": 1}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "weight": 1, "direction": "lower"}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "window_seconds": -1}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "window_seconds": 1e9}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "level": "turn", "missing": 0}]}, 422),
        ({"name": "ok", "metrics": [{"name": "a", "kind": "boolean", "missing": 0}]}, 422),
        ({"name": "ok", "browser_metric": "reward"}, 422),
        ({"name": "ok", "browser_metric": "a"}, 422),
        ({"name": "ok", "browser_metric": "a", "metrics": [{"name": "a"}]}, 422),
        ({"name": "ok", "browser_metric": "a", "metrics": [{"name": "a", "low": 0}]}, 422),
        ({"name": "ok", "browser_metric": "a", "metrics": [{"name": "a", "kind": "comment"}]}, 422),
        (
            {
                "name": "ok",
                "browser_metric": "a",
                "metrics": [{"name": "a", "kind": "boolean", "level": "conversation"}],
            },
            422,
        ),
    ],
)
async def test_an_agent_that_makes_no_sense_is_refused(
    gateway: RunningGateway, body: dict[str, object], status: int
) -> None:
    answer = await gateway.admin.post("/admin/agents", json=body)
    assert answer.status_code == status, answer.text
    assert (await gateway.admin.get("/admin/agents")).json()["data"] == []


async def test_a_metric_is_told_back_as_it_was_declared(gateway: RunningGateway) -> None:
    sold = {"name": "sold", "kind": "boolean", "weight": 2.0, "combine": "max", "required": False, "low": None} | {
        "high": None,
        "level": "conversation",
        "direction": "higher",
        "window_seconds": 86400.0,
        "missing": False,
        "guard": True,
    }
    made = await gateway.admin.post("/admin/agents", json={"name": "shop", "metrics": [sold]})
    assert made.json()["metrics"] == [sold]
    assert (await gateway.admin.get("/admin/agents/shop")).json()["metrics"] == [sold]


async def test_what_browsers_say_is_bounded_whatever_changes(gateway: RunningGateway) -> None:
    stars, thumb = {"name": "stars", "low": 1, "high": 5}, {"name": "thumb", "kind": "boolean", "level": "turn"}
    body = {"name": "shop", "metrics": [stars, thumb], "browser_metric": "thumb"}
    made = await gateway.admin.post("/admin/agents", json=body)
    assert made.json()["browser_metric"] == "thumb"
    other = await gateway.admin.patch("/admin/agents/shop", json={"browser_metric": "stars"})
    assert other.json()["browser_metric"] == "stars"
    for metrics in ([thumb], [{"name": "stars"}, thumb]):
        refused = await gateway.admin.patch("/admin/agents/shop", json={"metrics": metrics})
        assert refused.status_code == 422, refused.text
    kept = (await gateway.admin.get("/admin/agents/shop")).json()
    assert [metric["name"] for metric in kept["metrics"]] == ["stars", "thumb"]
    cleared = await gateway.admin.patch("/admin/agents/shop", json={"browser_metric": None, "metrics": [thumb]})
    assert (cleared.status_code, cleared.json()["browser_metric"]) == (200, None)


async def test_a_weight_below_zero_says_that_lower_is_better(gateway: RunningGateway) -> None:
    metrics = [{"name": "refund", "weight": -1}, {"name": "sold"}]
    made = await gateway.admin.post("/admin/agents", json={"name": "shop", "metrics": metrics})
    assert made.status_code == 201, made.text
    found = {metric["name"]: metric["direction"] for metric in made.json()["metrics"]}
    assert found == {"refund": "lower", "sold": "higher"}


async def test_a_metric_cannot_become_another_kind_even_after_it_was_dropped(gateway: RunningGateway) -> None:
    await gateway.admin.post("/admin/agents", json={"name": "shop", "metrics": [{"name": "sold", "kind": "boolean"}]})
    for metrics in ([{"name": "sold"}], [], [{"name": "sold"}]):
        answer = await gateway.admin.patch("/admin/agents/shop", json={"metrics": metrics})
        assert answer.status_code == (409 if metrics else 200), answer.text
    assert answer.json()["error"]["code"] == "metric_kind_is_fixed"
    again = await gateway.admin.patch("/admin/agents/shop", json={"metrics": [{"name": "sold", "kind": "boolean"}]})
    assert again.status_code == 200


async def test_the_base_model_of_an_agent_is_fixed(gateway: RunningGateway) -> None:
    await gateway.admin.post("/admin/agents", json={"name": "shop"})
    answer = await gateway.admin.patch("/admin/agents/shop", json={"base_model": "other"})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "base_model_is_fixed"


async def test_an_agent_whose_base_nobody_serves_is_told_so(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "lost", base_model="llama-900b")
    await asyncio.sleep(0.7)
    body = {"model": "lost", "messages": [{"role": "user", "content": "x"}]}
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "base_model_not_served"
    assert "Retry-After" in answer.headers


async def test_a_run_is_a_row_that_anybody_may_watch(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "demo")
    asked = await gateway.admin.post("/admin/agents/demo/learn")
    assert asked.status_code == 202
    run_id = asked.json()["run_id"]
    assert (await gateway.admin.post("/admin/agents/demo/learn")).status_code == 409
    run = (await gateway.admin.get(f"/admin/runs/{run_id}")).json()
    assert (run["state"], run["progress"], run["agent"], run["adapter"]) == (RunState.QUEUED, 0.0, "demo", None)
    listed = (await gateway.admin.get("/admin/agents/demo/runs")).json()
    assert [row["run_id"] for row in listed["data"]] == [run_id]
    assert listed["next"] is None
    async with database.transaction() as session:
        assert len(await learner.list_unheld(session)) == 1
    assert (await gateway.admin.get("/admin/runs/run_nonsense")).status_code == 404
    assert (await gateway.admin.post("/admin/agents/nobody/learn")).status_code == 404


async def test_health_readiness_and_metrics_need_no_key_and_tell_what_is_missing(
    gateway: RunningGateway, start_gateway: StartGateway, scripted_engine: ScriptedEngine
) -> None:
    assert (await gateway.nobody.get("/healthz")).json() == {"status": "ok"}
    ready = await gateway.nobody.get("/readyz")
    assert (ready.status_code, ready.json()["missing"]) == (200, [])
    async with start_gateway("http://127.0.0.1:9") as lonely:
        answer = await lonely.nobody.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing"] == ["engine: none is healthy"]
    exposed = (await gateway.nobody.get("/metrics")).text
    assert "nock_healthy_engines 1.0" in exposed


async def test_the_openapi_document_names_every_error_body(gateway: RunningGateway) -> None:
    document = (await gateway.nobody.get("/openapi.json")).json()
    chat = document["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert chat["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/OpenAIErrorBody")
    feedback = document["paths"]["/feedback"]["post"]["responses"]
    assert feedback["409"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    async with httpx.AsyncClient(base_url=gateway.url) as browser:
        assert (await browser.get("/docs")).status_code == 200
        missing = await browser.get("/nowhere")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "not_found"
        wrong = await browser.get("/feedback")
        assert wrong.status_code == 405


async def test_sampling_that_would_break_the_record_is_refused(gateway: RunningGateway, database: Database) -> None:
    await create_agent(database, "demo")
    for wrong in ({"n": 2}, {"echo": True}, {"stream": True}, {"kv_transfer_params": {}}, {"model": "another"}):
        answer = await gateway.admin.patch("/admin/agents/demo", json={"sampling": wrong})
        assert answer.status_code == 422, answer.text
        assert next(iter(wrong)) in answer.json()["error"]["message"]
    assert (await gateway.admin.patch("/admin/agents/demo", json={"sampling": {"top_k": 5}})).status_code == 200


@pytest.mark.parametrize(("revision", "status"), [("9999", 200), ("0001", 503)])
async def test_a_gateway_is_ready_before_a_newer_database_and_not_before_an_older_one(
    gateway: RunningGateway, database: Database, revision: str, status: int
) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    answer = await gateway.nobody.get("/readyz")
    assert answer.status_code == status
    assert [what.split(":")[0] for what in answer.json()["missing"]] == ([] if status == 200 else ["migrations"])

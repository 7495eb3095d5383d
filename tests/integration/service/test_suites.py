"""Suites over HTTP: declared with their agent, refused with a sentence, run on demand, shown with the version."""

from typing import Any

import pytest
from sqlalchemy import select

from core.domain.canaries import EvaluationKind, EvaluationState
from core.domain.ids import new_id
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import evaluations
from tests.fixtures.builders import create_adapter, create_agent, create_key
from tests.fixtures.gateway import RunningGateway, client
from tests.fixtures.loras import configuration, weights

SUITE: list[dict[str, Any]] = [
    {"name": "greeting", "prompt": "Hello", "checks": {"contains": ["hi"], "refusal": False}},
    {
        "messages": [{"role": "user", "content": "Where is 47?"}],
        "tools": [{"type": "function", "function": {"name": "lookup"}}],
        "max_tokens": 32,
        "checks": {"tool": {"name": "lookup", "arguments": {"order": 47}}, "max_characters": 80},
    },
]


@pytest.fixture
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo", suite=SUITE)


async def test_a_suite_is_kept_as_it_was_written_and_cleared_by_an_empty_one(
    gateway: RunningGateway, agent: models.Agent
) -> None:
    kept = await gateway.admin.patch("/admin/agents/demo", json={"suite": SUITE})
    assert kept.status_code == 200, kept.text
    assert (await gateway.admin.get("/admin/agents/demo")).json()["suite"] == SUITE
    other = await gateway.admin.patch("/admin/agents/demo", json={"discount": 0.5})
    assert other.json()["suite"] == SUITE
    assert (await gateway.admin.patch("/admin/agents/demo", json={"suite": []})).json()["suite"] == []
    made = await gateway.admin.post("/admin/agents", json={"name": "shop", "suite": SUITE[:1]})
    assert made.json()["suite"] == SUITE[:1]


@pytest.mark.parametrize(
    ("prompt", "param", "words"),
    [
        ({"prompt": "a", "checks": {"contians": "x"}}, "suite.0.checks", "there is no check 'contians'; there are co"),
        ({"prompt": "a", "checks": {}}, "suite.0.checks", "must name a check"),
        ({"prompt": "a", "checks": {"refusal": None}}, "suite.0.checks", "refusal says nothing"),
        ({"prompt": "a"}, "suite.0.checks", "required"),
        ({"checks": {"refusal": True}}, "suite.0", "either a prompt or messages"),
        ({"prompt": "a", "messages": [{"role": "user"}], "checks": {"refusal": True}}, "suite.0", "either a prompt"),
        ({"prompt": "a", "checks": {"matches": "("}}, "suite.0.checks.matches", "no regular expression"),
        ({"prompt": "a", "checks": {"json_schema": {"type": 1}}}, "suite.0.checks.json_schema", "no JSON schema"),
        ({"prompt": "a", "checks": {"refusal": "yes"}}, "suite.0.checks.refusal", "boolean"),
        ({"prompt": "a", "checks": {"max_tokens": -1}}, "suite.0.checks.max_tokens", "greater"),
        ({"prompt": "a", "checks": {"tool": {"nmae": "x"}}}, "suite.0.checks.tool.name", "required"),
        ({"prompt": "a\x00", "checks": {"refusal": True}}, "suite.0.prompt", "NUL"),
        ({"prompt": "a", "hceck": 1, "checks": {"refusal": True}}, "suite.0.hceck", "not permitted"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence_and_its_place(
    gateway: RunningGateway, agent: models.Agent, prompt: dict[str, Any], param: str, words: str
) -> None:
    answer = await gateway.admin.patch("/admin/agents/demo", json={"suite": [prompt]})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (422, param), error
    assert words in error["message"]


async def test_a_suite_is_queued_once_and_shown_with_its_version(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    version = await create_adapter(database, agent)
    queued = await gateway.admin.post("/admin/adapters/demo@v1/suite")
    assert queued.status_code == 202, queued.text
    again = await gateway.admin.post("/admin/adapters/demo@v1/suite")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "suite_running")
    shown = (await gateway.admin.get("/admin/adapters/demo@v1")).json()["evidence"]["suite"]
    assert (shown["evaluation_id"], shown["state"]) == (queued.json()["evaluation_id"], "queued")

    holder = new_id()
    async with database.transaction() as session:
        [evaluation_id] = await evaluations.list_unheld(session, EvaluationKind.SUITE)
        await evaluations.claim(session, evaluation_id, holder=holder, lease_seconds=60)
        figures = {"prompts": [{"name": "greeting", "failures": ["It refuses."]}]}
        ended = {"state": EvaluationState.FAILED, "figures": figures, "reason": "1 of 2 prompts failed: greeting."}
        assert await evaluations.end(session, evaluation_id, holder=holder, **ended)
    shown = (await gateway.admin.get("/admin/adapters/demo@v1")).json()["evidence"]["suite"]
    assert (shown["state"], shown["figures"], shown["reason"]) == ("failed", figures, ended["reason"])
    assert (await gateway.admin.post("/admin/adapters/demo@v1/suite")).status_code == 202
    assert version.evidence is None


async def test_an_agent_without_a_suite_and_an_unknown_version_have_none_to_run(
    gateway: RunningGateway, database: Database
) -> None:
    await create_agent(database, "bare")
    answer = await gateway.admin.post("/admin/adapters/bare@base/suite")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_suite")
    assert (await gateway.admin.post("/admin/adapters/bare@v9/suite")).status_code == 404
    secret, _ = await create_key(database, agents=["other"])
    async with client(gateway.url, secret) as stranger:
        assert (await stranger.post("/admin/adapters/bare@base/suite")).status_code == 404


async def test_an_imported_adapter_s_suite_is_queued_with_it(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    files = {"adapter_config.json": configuration(), "adapter_model.safetensors": weights()}
    answer = await gateway.admin.post("/admin/agents/demo/adapters", files=files)
    # httpx names a file that has no name `upload`, which is not what the part is called.
    assert answer.status_code == 422
    named = {name: (name, content) for name, content in files.items()}
    answer = await gateway.admin.post("/admin/agents/demo/adapters", files=named)
    assert answer.status_code == 201, answer.text
    assert answer.json()["evidence"]["imported"]["layers"] == 1
    assert answer.json()["evidence"]["suite"]["state"] == "queued"
    async with database.transaction() as session:
        asked = (await session.scalars(select(models.Evaluation.kind))).all()
    assert sorted(asked) == [EvaluationKind.OFFLINE, EvaluationKind.SUITE]

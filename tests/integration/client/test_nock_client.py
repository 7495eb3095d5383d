"""The client against a real gateway, with threads and with an event loop: the same stories, the same answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from core.storage import models
from core.storage.database import Database
from nock_client import (
    AsyncNock,
    Call,
    ConflictError,
    GoneError,
    InvalidError,
    Nock,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
    UnreachableError,
    calls,
)
from tests.fixtures.builders import create_agent
from tests.fixtures.cutting_proxy import cutting_proxy
from tests.fixtures.engine_process import find_free_port
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.loras import configuration, weights


class InThread:
    """`Nock` as a coroutine sees it: each call in a thread of its own."""

    def __init__(self, nock: Nock) -> None:
        self._nock = nock

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: asyncio.to_thread(getattr(self._nock, name), *args, **named)

    async def every(self, call: Call[Any]) -> AsyncIterator[Any]:
        for entry in await asyncio.to_thread(lambda: list(self._nock.every(call))):
            yield entry


Connect = Callable[..., Any]


@pytest.fixture(params=["threads", "event loop"])
def connect(request: pytest.FixtureRequest) -> Connect:
    @asynccontextmanager
    async def with_threads(url: str, key: str, **settings: Any) -> AsyncIterator[Any]:
        with Nock(url, key, **settings) as nock:
            yield InThread(nock)

    return with_threads if request.param == "threads" else AsyncNock


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


async def say(gateway: RunningGateway, conversation: str = "c/1 ü") -> str:
    body = {"agent": "demo", "message": "hello", "conversation_id": conversation, "user": "ann/1"}
    answer = await gateway.chat.post("/chat", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["turn_id"])


async def test_an_outcome_is_told_corrected_withdrawn_and_seen(gateway: RunningGateway, connect: Connect) -> None:
    turn = await say(gateway)
    async with connect(gateway.url, gateway.keys.feedback) as nock:
        told = await nock.feedback(turn_id=turn, value=0.5, source="crm", occurred_at="2026-11-20T09:00:00Z")
        assert told["state"] == "open"
        better = await nock.feedback(turn_id=turn, value=1.0, source="crm", supersedes=told["feedback_id"], final=True)
        assert (better["state"], better["consequence"]) == ("matured", "next_update")
        withdrawn = await nock.retract(better["feedback_id"])
    async with connect(gateway.url, gateway.keys.chat) as nock:
        kept = await nock.conversation("c/1 ü", agent="demo", tokens=True)
    assert withdrawn["feedback_id"] in [entry["feedback_id"] for entry in kept["feedback"]]
    assert (kept["external_id"], kept["user"], kept["return"]) == ("c/1 ü", "ann/1", None)
    assert kept["turns"][0]["completion_token_ids"]


async def test_an_outcome_whose_answer_was_lost_counts_once(gateway: RunningGateway, connect: Connect) -> None:
    await say(gateway, "lost")
    async with cutting_proxy(gateway.url, lost=2) as url, connect(url, gateway.keys.feedback) as nock:
        told = await nock.feedback(conversation_id="lost", value=1.0)
    kept = (await gateway.chat.get("/conversations/lost")).json()
    assert [entry["feedback_id"] for entry in kept["feedback"]] == [told["feedback_id"]]


async def test_a_batch_answers_each_entry(gateway: RunningGateway, connect: Connect) -> None:
    turn = await say(gateway, "batch")
    async with connect(gateway.url, gateway.keys.feedback) as nock:
        batch = await nock.feedback_batch([{"turn_id": turn, "value": 1.0}, {"turn_id": "turn_nobody", "value": 1.0}])
    assert [item["status"] for item in batch["data"]] == [201, 404]
    assert batch["data"][1]["error"]["code"] == "turn_not_found"


async def test_dead_letters_come_page_after_page_and_can_be_tried_again(
    gateway: RunningGateway, connect: Connect
) -> None:
    async with connect(gateway.url, gateway.keys.feedback) as nock:
        for number in range(5):
            with pytest.raises(NotFoundError):
                await nock.feedback(conversation_id=f"later-{number}", agent="demo", value=1.0)
        letters = [letter async for letter in nock.every(calls.dead_letters(limit=2))]
        assert [letter["body"]["conversation_id"] for letter in letters] == [f"later-{number}" for number in range(5)]
        await say(gateway, "later-3")
        joined = await nock.retry_dead_letter(letters[3]["dead_letter_id"])
        assert joined["value"] == 1.0
        assert len([letter async for letter in nock.every(calls.dead_letters(limit=2))]) == 4


async def test_what_is_refused_says_why(gateway: RunningGateway, connect: Connect) -> None:
    turn = await say(gateway, "refused")
    async with connect(gateway.url, gateway.keys.feedback) as nock:
        with pytest.raises(InvalidError, match="metric") as invalid:
            await nock.feedback(turn_id=turn, metric="unheard of", value=1.0)
        assert (invalid.value.status, invalid.value.code) == (422, "unknown_metric")
        await nock.feedback(turn_id=turn, value=1.0, idempotency_key="once")
        with pytest.raises(ConflictError):
            await nock.feedback(turn_id=turn, value=0.0, idempotency_key="once")
        with pytest.raises(NotAllowedError):
            await nock.agents()
    async with connect(gateway.url, "nk_nobody") as nock:
        with pytest.raises(NotAuthenticatedError) as stranger:
            await nock.models()
    assert stranger.value.status == 401


async def test_nobody_there_is_told_after_the_last_try(connect: Connect) -> None:
    async with connect(f"http://127.0.0.1:{find_free_port()}", "nk_x", retries=1) as nock:
        with pytest.raises(UnreachableError) as away:
            await nock.models()
    assert (away.value.status, away.value.code) == (None, "unreachable")


async def test_a_conversation_is_closed_and_erased_and_its_user_too(gateway: RunningGateway, connect: Connect) -> None:
    await say(gateway)
    await say(gateway, "other")
    async with connect(gateway.url, gateway.keys.admin) as nock:
        assert (await nock.close_conversation("c/1 ü", agent="demo"))["closed_at"]
        report = await nock.delete_conversation("c/1 ü")
        assert report["removed"]["conversations"] == 1
        with pytest.raises(GoneError):
            await nock.conversation("c/1 ü")
        assert (await nock.delete_user("ann/1"))["removed"]["conversations"] == 1
        reports = [each["erasure_id"] async for each in nock.every(calls.erasures(limit=1))]
        assert len(reports) == 2
        assert report["erasure_id"] in reports
        assert await nock.erasure(report["erasure_id"]) == report


async def test_an_agent_is_made_and_changed_with_the_fields_that_are_named(
    gateway: RunningGateway, connect: Connect
) -> None:
    async with connect(gateway.url, gateway.keys.admin) as nock:
        made = await nock.create_agent("desk", metrics=[{"name": "resolved", "kind": "boolean"}], retention_days=30)
        assert (made["metrics"][0]["name"], made["retention_days"]) == ("resolved", 30)
        changed = await nock.change_agent("desk", retention_days=None, system_prompt="Be brief.")
        assert (changed["retention_days"], changed["system_prompt"]) == (None, "Be brief.")
        assert changed == await nock.agent("desk")
        assert [each["name"] async for each in nock.every(calls.agents())] == ["demo", "desk"]
    async with connect(gateway.url, gateway.keys.chat) as nock:
        assert [card["id"] for card in (await nock.models())["data"]] == ["demo", "desk"]


async def test_a_version_comes_in_is_promoted_tried_rolled_back_and_rejected(
    gateway: RunningGateway, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_bytes(configuration())
    (tmp_path / "adapter_model.safetensors").write_bytes(weights())
    async with connect(gateway.url, gateway.keys.admin) as nock:
        imported = await nock.import_adapter("demo", tmp_path, name="ours")
        assert (imported["adapter"], imported["state"]) == ("demo@v1", "candidate")
        assert await nock.import_adapter("demo", tmp_path) == imported
        with pytest.raises(InvalidError):
            await nock.import_adapter("demo", tmp_path, sha256="0" * 64)
        tried = await nock.canary("demo@v1", 0.25, reason="a look", force=True)
        assert (tried["canary"], tried["weight"]) == ("demo@v1", 0.25)
        assert (await nock.promote("demo@v1", reason="better", force=True))["stable"] == "demo@v1"
        assert (await nock.rollback("demo", reason="not yet"))["stable"] == "demo@base"
        assert (await nock.reject("demo@v1", reason="worse", open="finish"))["state"] == "rejected"
        assert (await nock.rollout("demo"))["reason"] == "not yet"
        kinds = [event["kind"] async for event in nock.every(calls.rollout_events("demo"))]
        assert "promote" in kinds
        assert len((await nock.canaries("demo"))["data"]) == 1
        assert {each["adapter"] async for each in nock.every(calls.adapters("demo"))} == {"demo@base", "demo@v1"}
        assert (await nock.adapter("demo@v1"))["state"] == "rejected"
        assert (await nock.lineage("demo@v1"))["turns"] == 0
        assert [each async for each in nock.every(calls.lineage("demo@v1"))] == []
        with pytest.raises(ConflictError):
            await nock.run_suite("demo@v1")


async def test_a_run_is_started_and_waited_for(gateway: RunningGateway, database: Database, connect: Connect) -> None:
    async def end_it() -> None:
        await asyncio.sleep(0.7)
        async with database.transaction() as session:
            await session.execute(update(models.LearnerRun).values(state="skipped", reason="Nothing to learn."))

    async with connect(gateway.url, gateway.keys.admin) as nock:
        queued = await nock.learn("demo")
        with pytest.raises(ConflictError):
            await nock.learn("demo")
        with pytest.raises(TimeoutError, match="queued"):
            await nock.wait_for_run(queued["run_id"], seconds=0.1)
        ending = asyncio.create_task(end_it())
        ended = await nock.wait_for_run(queued["run_id"], seconds=30)
        await ending
        assert (ended["state"], ended["reason"]) == ("skipped", "Nothing to learn.")
        assert [run["run_id"] async for run in nock.every(calls.runs("demo", limit=1))] == [queued["run_id"]]


async def test_a_key_is_made_and_revoked(gateway: RunningGateway, connect: Connect) -> None:
    async with connect(gateway.url, gateway.keys.admin) as nock:
        made = await nock.create_key(scopes=["feedback"], agents=["demo"], name="crm")
        assert made["secret"].startswith("nk_")
        assert made["key_id"] in [key["key_id"] async for key in nock.every(calls.keys())]
        assert (await nock.revoke_key(made["key_id"]))["revoked_at"]


async def test_a_key_is_limited_changed_and_rotated_and_the_log_has_it(
    gateway: RunningGateway, connect: Connect
) -> None:
    async with connect(gateway.url, gateway.keys.admin) as nock:
        made = await nock.create_key(scopes=["chat"], agents=["demo"], name="shop", limits={"tokens_per_day": 900})
        assert (made["limits"], made["old_valid_until"]) == ({"tokens_per_day": 900}, None)
        changed = await nock.change_key(made["key_id"], name=None, limits=None)
        assert (changed["name"], changed["limits"]) == (None, {})
        rotated = await nock.rotate_key(made["key_id"], grace_seconds=60)
        assert rotated["old_valid_until"]
        acts = [act async for act in nock.every(calls.audit(agent="demo", limit=2)) if act["subject"] == made["key_id"]]
        assert [act["action"] for act in acts] == ["key.rotate", "key.change", "key.create"]
    for secret in (made["secret"], rotated["secret"]):
        async with connect(gateway.url, secret) as nock:
            assert (await nock.model("demo"))["id"] == "demo"

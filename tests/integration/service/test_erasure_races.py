"""Erasure beside turns and outcomes of the same moment: whoever comes second finds nothing, and nothing comes back."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from core.domain import ids
from core.storage import models
from core.storage.database import Database
from core.storage.repositories import conversations
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.traces import traces_of

MARK = "xylophone-4711"


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "demo")


def asking(name: str = "order", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"I play the {MARK}"}]
    return {"model": "demo", "messages": messages, "metadata": {"conversation_id": name}, "user": "ann", **more}


async def open_conversation(gateway: RunningGateway, name: str = "order") -> httpx.Response:
    answer = await gateway.chat.post("/v1/chat/completions", json=asking(name))
    assert answer.status_code == 200
    return answer


async def waiters_are(database: Database, count: int) -> None:
    """Returns when so many wait for a lock, in Postgres' own words."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(1000):
        async with database.transaction() as session:
            if await session.scalar(text(waiting)) == count:
                return
        await asyncio.sleep(0.01)
    pytest.fail(f"{count} never waited at once")


@pytest.mark.parametrize("path", ["/conversations/order", "/users/ann"])
async def test_a_stream_of_an_erased_conversation_ends_with_an_error_and_leaves_no_turn(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, database: Database, path: str
) -> None:
    scripted_engine.pause = 0.02
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=asking(stream=True)) as answer:
        await scripted_engine.speaking.wait()
        assert (await gateway.admin.delete(path)).status_code == 200
        lines = [line async for line in answer.aiter_lines() if line]
    assert "conversation_erased" in lines[-1]
    assert not any('"finish_reason":"stop"' in line for line in lines)
    assert await traces_of(database, MARK, "ann") == []


async def test_turns_and_an_erasure_at_once_leave_nothing_behind(gateway: RunningGateway, database: Database) -> None:
    await open_conversation(gateway)
    turns = [asyncio.create_task(gateway.chat.post("/v1/chat/completions", json=asking())) for _ in range(8)]
    await asyncio.sleep(0.02)
    assert (await gateway.admin.delete("/conversations/order")).status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*turns)} <= {200, 410}
    assert await traces_of(database, MARK) == []
    late = await gateway.chat.post("/v1/chat/completions", json=asking())
    assert (late.status_code, late.json()["error"]["code"]) == (410, "conversation_erased")


async def test_whatever_waits_for_an_erasure_finds_that_it_is_gone(gateway: RunningGateway, database: Database) -> None:
    turn = await open_conversation(gateway)
    own = ids.parse(ids.Prefix.CONVERSATION, turn.headers["X-Conversation-Id"])
    assert own is not None
    async with database.transaction() as session:
        await conversations.lock_conversation(session, own)
        erasing = asyncio.create_task(gateway.admin.delete("/conversations/order"))
        await waiters_are(database, 1)  # the erasure waits first
        calls = [
            gateway.chat.post("/v1/chat/completions", json=asking()),
            gateway.feedback.post("/feedback", json={"conversation_id": "order", "value": 1, "comment": MARK}),
            gateway.chat.post("/conversations/order/close"),
            gateway.admin.delete("/conversations/order"),
        ]
        waiting = [asyncio.create_task(call) for call in calls]
        await waiters_are(database, 1 + len(calls))
        assert not any(one.done() for one in (erasing, *waiting))
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [410, 410, 410, 200]
    assert answers[-1].json() == (await erasing).json()
    assert await traces_of(database, MARK) == []


async def test_a_branch_that_is_begun_while_its_parent_goes_is_refused_or_goes_too(
    gateway: RunningGateway, database: Database
) -> None:
    first = await gateway.chat.post("/v1/chat/completions", json=asking() | {"metadata": {}})
    reply = first.json()["choices"][0]["message"]["content"]
    told = [*asking()["messages"], {"role": "assistant", "content": reply}]
    body = {"model": "demo", "user": "ann"}
    ways = [body | {"messages": [*told, {"role": "user", "content": f"way {way}"}]} for way in range(8)]
    await gateway.chat.post("/v1/chat/completions", json=ways[0])
    branches = [asyncio.create_task(gateway.chat.post("/v1/chat/completions", json=way)) for way in ways[1:]]
    await asyncio.sleep(0.01)
    assert (await gateway.admin.delete("/users/ann")).status_code == 200
    answers = await asyncio.gather(*branches)
    assert {answer.status_code for answer in answers} <= {200, 410}
    # One that came after the erasure is the conversation of a user who returned, with the history that she brought.
    assert (await gateway.admin.delete("/users/ann")).status_code == 200
    assert await traces_of(database, MARK) == []


async def test_outcomes_and_an_erasure_at_once_leave_nothing_behind(
    gateway: RunningGateway, database: Database
) -> None:
    names = [f"order {number}" for number in range(5)]
    for name in names:
        await open_conversation(gateway, name)
    said = [
        {"conversation_id": name, "value": 1, "comment": MARK, "idempotency_key": f"{MARK} {way} {name}"}
        for way in range(3)
        for name in names
    ]
    posts = [asyncio.create_task(gateway.feedback.post("/feedback", json=body)) for body in said]
    posts.append(asyncio.create_task(gateway.feedback.post("/feedback/batch", json={"entries": said})))
    erased = await gateway.admin.delete("/users/ann")
    answers = await asyncio.gather(*posts)
    assert erased.status_code == 200
    assert {answer.status_code for answer in answers[:-1]} <= {200, 201, 410}
    assert {one["status"] for one in answers[-1].json()["data"]} <= {200, 201, 410}
    assert await traces_of(database, MARK, "ann") == []

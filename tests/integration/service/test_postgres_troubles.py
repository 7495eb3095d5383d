"""Turns while Postgres is busy with their conversation, or has forgotten it: none is lost, none waits for another's."""

import asyncio

import httpx
import pytest
from sqlalchemy import delete, func, select, text

from core.domain import ids
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def say(gateway: RunningGateway, conversation: str | None = None, says: str = "hello") -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": says}]}
    headers = {} if conversation is None else {"X-Conversation-Id": conversation}
    return await gateway.chat.post("/v1/chat/completions", json=body, headers=headers)


async def test_a_conversation_that_somebody_changes_holds_up_no_other_ones_turns(
    gateway: RunningGateway, database: Database
) -> None:
    held = (await say(gateway, "held")).headers["X-Conversation-Id"]
    async with database.transaction() as session:
        own = ids.parse(ids.Prefix.CONVERSATION, held)
        await session.execute(select(models.Conversation).where(models.Conversation.id == own).with_for_update())
        waiting = [asyncio.create_task(say(gateway, "held", f"again {number}")) for number in range(4)]
        await asyncio.sleep(0.2)
        for number in range(8):
            assert (await asyncio.wait_for(say(gateway, f"other {number}"), 10)).status_code == 200
        assert not any(task.done() for task in waiting)
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 4


@pytest.mark.parametrize("name", [None, "order"])
async def test_a_conversation_that_postgres_forgot_when_it_broke_down_is_opened_again_for_its_turn(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, database: Database, name: str | None
) -> None:
    scripted_engine.pause = 0.5
    asking = asyncio.create_task(say(gateway, name))
    await eventually(lambda: len(scripted_engine.requests) == 1)
    async with database.transaction() as session:
        for table in (models.Episode, models.Conversation):
            await session.execute(delete(table))
    answer = await asking
    assert answer.status_code == 200
    async with database.transaction() as session:
        row = (await session.scalars(select(models.Conversation))).one()
        assert ids.public(ids.Prefix.CONVERSATION, row.id) == answer.headers["X-Conversation-Id"]
        assert row.external_id == name
        assert await session.scalar(select(func.count()).select_from(models.Turn)) == 1


async def test_a_postgres_that_says_nothing_is_told_as_one_that_is_away(
    gateway: RunningGateway, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.storage.database.ANSWER_SECONDS", 0.3)
    gateway.app.state.gateway.keys.forget()
    async with database.transaction() as session:
        await session.execute(text("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE"))
        answer = await asyncio.wait_for(say(gateway), 20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await say(gateway)).status_code == 200

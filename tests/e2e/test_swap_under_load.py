"""Eight clients stream without a pause while versions are promoted, tried and rolled back under them: nobody notices.

Replies are greedy, so that what each version says to the same questions is known beforehand, letter by letter.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import func, select

from core.engine.client import EngineClient
from core.engine.pool import EnginePool, open_pool
from core.rollouts import reconciling
from core.settings import EngineSettings
from core.storage import models
from core.storage.database import Database
from tests.fixtures.builders import create_adapter, create_agent
from tests.fixtures.checksums import sha256_of
from tests.fixtures.gateway import RunningGateway, StartGateway

CLIENTS = 8
QUESTIONS = ("Where is my order?", "And when will it come?", "Thank you.")
FOLLOW_SECONDS = 2.0
MEET_SECONDS = 120.0
DRAIN_SECONDS = 5.0


@dataclass
class Spoken:
    """One conversation as its client lived it."""

    adapters: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)


@pytest.fixture
async def agent(database: Database, agent_name: str, adapter_folders: list[Path]) -> models.Agent:
    """An agent with three candidates."""
    agent = await create_agent(database, agent_name)
    for folder in adapter_folders[:3]:
        await create_adapter(database, agent, path=str(folder), sha256=sha256_of(folder))
    return agent


async def test_versions_swapped_under_streaming_clients_fail_no_request_and_mix_no_reply(
    engine: EngineClient, start_gateway: StartGateway, database: Database, agent: models.Agent
) -> None:
    settings = EngineSettings(engine_urls=engine.url, engine_timeout_seconds=DRAIN_SECONDS)
    async with start_gateway(engine.url) as gateway, open_pool(settings) as engines:
        versions = [f"{agent.name}@base", *(f"{agent.name}@v{number}" for number in (1, 2, 3))]
        expected = {version: await known_replies(gateway, version) for version in versions}
        assert len(set(map(tuple, expected.values()))) == len(versions)

        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            spoken: list[Spoken] = []
            for _ in range(CLIENTS):
                group.create_task(talk_until(over, gateway, agent.name, spoken))
            await swap(gateway, database, engines, agent.name, spoken)
            over.set()

    check_transcripts(spoken, expected)
    assert {one.adapters[0] for one in spoken} == set(versions)
    await check_rows(database, agent, spoken)


async def swap(
    gateway: RunningGateway, database: Database, engines: EnginePool, agent: str, spoken: list[Spoken]
) -> None:
    """Promote and roll back twenty times, with a trial in the middle; what nobody needs is unloaded in between.

    Each version stays until a client has met it, however slow the machine is.
    """
    versions = cycle((2, 3))
    there_and_back = [(f"v{next(versions)}", "v1") for _ in range(9)]
    moves = ["v1", *chain(*there_and_back), "base"]
    for place, stable in enumerate(moves):
        since = len(spoken)
        goes_back = (place > 1 and place % 2 == 0) or stable == "base"
        answer = await (roll_back(gateway, agent) if goes_back else promote(gateway, f"{agent}@{stable}"))
        assert answer.status_code == 200, answer.text
        assert answer.json()["stable"] == f"{agent}@{stable}"
        await served_by(gateway, agent, f"{agent}@{stable}")
        await reconciling.reconcile(database, engines)
        await met(f"{agent}@{stable}", spoken, since)
        if place == len(moves) // 2:
            since = len(spoken)
            await give_share(gateway, f"{agent}@v3", 0.5)
            await met(f"{agent}@v3", spoken, since)
            await met(f"{agent}@{stable}", spoken, since)
            await give_share(gateway, f"{agent}@v3", 0)
            await reconciling.reconcile(database, engines)


async def met(version: str, spoken: list[Spoken], since: int) -> None:
    """Wait until a client has begun a conversation with that version."""
    begun = time.monotonic()
    while not any(one.adapters[:1] == [version] for one in spoken[since:]):
        assert time.monotonic() - begun < MEET_SECONDS
        await asyncio.sleep(0.05)


async def roll_back(gateway: RunningGateway, agent: str) -> httpx.Response:
    return await gateway.admin.post(f"/admin/agents/{agent}/rollback", json={"reason": "test"})


async def give_share(gateway: RunningGateway, version: str, weight: float) -> None:
    body = {"weight": weight, "reason": "test", "force": True}
    answer = await gateway.admin.post(f"/admin/adapters/{version}/canary", json=body)
    assert answer.status_code == 200, answer.text


async def promote(gateway: RunningGateway, version: str) -> httpx.Response:
    return await gateway.admin.post(f"/admin/adapters/{version}/promote", json={"reason": "test", "force": True})


async def served_by(gateway: RunningGateway, agent: str, stable: str) -> None:
    """Begin conversations until one is answered by the version that was just moved to."""
    moved, adapter = time.monotonic(), ""
    while adapter != stable:
        begun = time.monotonic()
        adapter, _, conversation, _ = await ask(gateway.chat, agent, [say(QUESTIONS[0])], "", max_tokens=1)
        assert adapter == stable or begun - moved < FOLLOW_SECONDS
        await close(gateway, conversation)


async def talk_until(over: asyncio.Event, gateway: RunningGateway, agent: str, all_spoken: list[Spoken]) -> None:
    """One conversation after the other; the last is finished too."""
    while not over.is_set():
        all_spoken.append(Spoken())
        await talk(gateway, agent, all_spoken[-1])


async def talk(gateway: RunningGateway, agent: str, spoken: Spoken) -> None:
    said: list[dict[str, str]] = []
    conversation = ""
    for question in QUESTIONS:
        said.append(say(question))
        adapter, turn, conversation, reply = await ask(gateway.chat, agent, said, conversation)
        spoken.adapters.append(adapter)
        spoken.turns.append(turn)
        spoken.replies.append(reply)
        said.append({"role": "assistant", "content": reply})
    await close(gateway, conversation)


async def close(gateway: RunningGateway, conversation: str) -> None:
    answer = await gateway.chat.post(f"/conversations/{conversation}/close")
    assert answer.status_code == 200, answer.text


async def ask(
    client: httpx.AsyncClient, model: str, messages: list[dict[str, str]], conversation: str, **fields: Any
) -> tuple[str, str, str, str]:
    """(version, turn, conversation, reply) of one streamed turn."""
    body = {"model": model, "messages": messages, "stream": True, "temperature": 0, "max_tokens": 24} | fields
    headers = {} if not conversation else {"X-Conversation-Id": conversation}
    reply, finish_reason, lines = "", None, []
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
        assert answer.status_code == 200, lines
    assert lines[-2:] == ["data: [DONE]", ""]
    for line in lines[:-2]:
        for choice in orjson.loads(line[6:])["choices"] if line else []:
            reply += choice["delta"].get("content") or ""
            finish_reason = choice.get("finish_reason") or finish_reason
    assert finish_reason in ("stop", "length")
    named = (answer.headers[name] for name in ("X-Adapter", "X-Turn-Id", "X-Conversation-Id"))
    adapter, turn, conversation = named
    return adapter, turn, conversation, reply


async def known_replies(gateway: RunningGateway, version: str) -> list[str]:
    """What a version says to the questions, alone and pinned; nothing of it is kept."""
    said: list[dict[str, str]] = []
    replies = []
    for question in QUESTIONS:
        said.append(say(question))
        body = {"model": version, "messages": said, "temperature": 0, "max_tokens": 24, "store": False}
        answer = await gateway.admin.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        replies.append(answer.json()["choices"][0]["message"]["content"])
        said.append({"role": "assistant", "content": replies[-1]})
    return replies


def say(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def check_transcripts(spoken: list[Spoken], expected: Mapping[str, list[str]]) -> None:
    for one in spoken:
        assert len(set(one.adapters)) == 1
        assert one.replies == expected[one.adapters[0]]


async def check_rows(database: Database, agent: models.Agent, spoken: list[Spoken]) -> None:
    """Every turn that a client received is there, with its tokens, under the version that the client was told."""
    statement = (
        select(
            models.Turn.id,
            models.AdapterVersion.number,
            func.octet_length(models.TurnTokens.completion),
            models.Turn.finish_reason,
        )
        .join(models.Episode, models.Episode.id == models.Turn.episode_id)
        .join(models.AdapterVersion, models.AdapterVersion.id == models.Episode.adapter_id)
        .join(models.TurnTokens, models.TurnTokens.turn_id == models.Turn.id)
        .where(models.Turn.agent_id == agent.id)
    )
    async with database.transaction() as session:
        rows = {f"turn_{turn.hex}": rest for turn, *rest in await session.execute(statement)}
    assert {reason for _, _, reason in rows.values()} <= {"stop", "length"}
    for one in spoken:
        number = 0 if one.adapters[0].endswith("@base") else int(one.adapters[0].rpartition("@v")[2])
        for turn in one.turns:
            assert rows[turn][0] == number
            assert rows[turn][1] > 0

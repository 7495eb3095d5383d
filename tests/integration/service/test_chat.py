"""Turns over HTTP: OpenAI's format in and out, each turn kept as it was sampled before its finish leaves."""

import asyncio
import json

import openai
import pytest
from sqlalchemy import text

from core.storage.database import Database
from core.storage.repositories import conversations
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.scripted_engine import ScriptedEngine


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


def say(text: str, **more: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **more}


async def test_a_turn_is_answered_and_found_again_as_it_was_sampled(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    answer = await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "tiny heard hello"
    assert body["model"] == "demo"
    assert body["id"] == answer.headers["X-Turn-Id"]
    assert answer.headers["X-Adapter"] == "demo@base"
    assert "prompt_token_ids" not in body
    assert "token_ids" not in body["choices"][0]
    assert body["choices"][0]["logprobs"] is None

    found = await gateway.chat.get(f"/conversations/{answer.headers['X-Conversation-Id']}", params={"tokens": True})
    conversation = found.json()
    turn = conversation["turns"][0]
    assert conversation["adapter"] == "demo@base"
    assert conversation["state"] == "open"
    assert turn["turn_id"] == body["id"]
    assert turn["messages"] == [{"role": "user", "content": "hello"}]
    assert turn["reply"] == {"role": "assistant", "content": "tiny heard hello"}
    assert bytes(turn["completion_token_ids"]).decode() == "tiny heard hello"
    assert turn["logprobs"] == [-0.5] * len("tiny heard hello")
    assert bytes(turn["prompt_token_ids"]) == json.dumps(scripted_engine.requests[0]["messages"]).encode()
    assert turn["learnable"] == "actor"
    assert conversation["return"] is None


async def test_a_stream_carries_the_turns_id_and_ends_after_the_turn_is_kept(
    gateway: RunningGateway, database: Database
) -> None:
    request = say("hello", stream=True, stream_options={"include_usage": True}, logprobs=True)
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=request) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text_, finish_seen, usage = "", False, None
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            assert chunk["id"] == answer.headers["X-Turn-Id"]
            usage = chunk.get("usage") or usage
            for choice in chunk["choices"]:
                assert "token_ids" not in choice
                text_ += choice["delta"].get("content") or ""
                if choice["finish_reason"]:
                    finish_seen = True
                    async with database.transaction() as session:
                        assert (await session.execute(text("SELECT count(*) FROM turns"))).scalar() == 1
    assert text_ == "tiny heard hello"
    assert finish_seen
    assert usage is not None
    assert usage["completion_tokens"] == len(text_)


async def test_the_official_client_streams_and_groups_by_metadata_and_by_resent_history(
    gateway: RunningGateway,
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys.chat) as client:
        named: list[str] = []
        for message in ("one", "two", "three"):
            reply = await client.chat.completions.create(
                model="demo",
                messages=[{"role": "user", "content": message}],
                metadata={"conversation_id": "crm/42 ü", "team": "blue"},
            )
            named.append(reply.id)
        found = (await gateway.chat.get("/conversations/crm%2F42%20%C3%BC")).json()
        assert [turn["turn_id"] for turn in found["turns"]] == named
        assert found["tags"] == {"team": "blue"}
        assert found["grouped"] == "client"

        history: list[dict[str, str]] = []
        resent = []
        for message in ("uno", "dos", "tres"):
            history.append({"role": "user", "content": message})
            stream = await client.chat.completions.create(model="demo", messages=history, stream=True)  # type: ignore[arg-type]
            said, turn = "", ""
            async for chunk in stream:
                turn = chunk.id
                said += chunk.choices[0].delta.content or ""
            history.append({"role": "assistant", "content": said})
            resent.append(turn)
        conversations = {await conversation_of(gateway, turn) for turn in resent}
        assert len(conversations) == 1
        found = (await gateway.chat.get(f"/conversations/{conversations.pop()}")).json()
        assert [turn["messages"] for turn in found["turns"]] == [
            [{"role": "user", "content": m}] for m in ("uno", "dos", "tres")
        ]


async def conversation_of(gateway: RunningGateway, turn: str) -> str:
    answer = await gateway.feedback.post("/feedback", json={"turn_id": turn, "value": 0.0})
    return str(answer.json()["conversation_id"])


async def test_the_same_request_again_gets_the_first_answer_and_another_one_is_a_branch(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    first = await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    history = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": first.json()["choices"][0]["message"]["content"]},
        {"role": "user", "content": "and now?"},
    ]
    second = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history})
    assert second.headers["X-Conversation-Id"] == first.headers["X-Conversation-Id"]
    asked = len(scripted_engine.requests)
    again = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history})
    assert again.json()["id"] == second.json()["id"]
    assert len(scripted_engine.requests) == asked
    streamed = await gateway.chat.post(
        "/v1/chat/completions", json={"model": "demo", "messages": history, "stream": True}
    )
    assert streamed.headers["X-Turn-Id"] == second.json()["id"]
    assert streamed.text.endswith("data: [DONE]\n\n")

    history[-1]["content"] = "or rather?"
    other = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history})
    branch = (await gateway.chat.get(f"/conversations/{other.headers['X-Conversation-Id']}")).json()
    assert branch["grouped"] == "branch"
    assert branch["parent"] == first.headers["X-Conversation-Id"]


async def test_strangers_who_say_the_same_are_never_merged(gateway: RunningGateway) -> None:
    answers = [
        await gateway.chat.post("/v1/chat/completions", json=say("hello", user=user)) for user in ("ann", "bob", "bob")
    ]
    assert len({answer.headers["X-Conversation-Id"] for answer in answers}) == 3
    reply = answers[0].json()["choices"][0]["message"]
    history = [{"role": "user", "content": "hello"}, reply, {"role": "user", "content": "more"}]
    ann = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history, "user": "ann"})
    assert ann.headers["X-Conversation-Id"] == answers[0].headers["X-Conversation-Id"]
    bob = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history, "user": "bob"})
    found = (await gateway.chat.get(f"/conversations/{bob.headers['X-Conversation-Id']}")).json()
    assert found["grouped"] == "ambiguous"


async def test_two_turns_at_once_in_one_conversation_are_both_kept_and_one_is_a_branch(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.01
    request = [say(f"message {i}", stream=True, metadata={"conversation_id": "one"}) for i in range(2)]
    answers = await asyncio.gather(*(gateway.chat.post("/v1/chat/completions", json=body) for body in request))
    assert [answer.status_code for answer in answers] == [200, 200]
    conversations = {await conversation_of(gateway, answer.headers["X-Turn-Id"]) for answer in answers}
    assert len(conversations) == 2
    found = [(await gateway.chat.get(f"/conversations/{c}")).json() for c in conversations]
    assert sorted(c["grouped"] for c in found) == ["branch", "client"]
    assert [len(c["turns"]) for c in found] == [1, 1]


async def test_a_nul_character_costs_no_turn(gateway: RunningGateway, scripted_engine: ScriptedEngine) -> None:
    scripted_engine.reply = "a\x00b"
    answer = await gateway.chat.post("/v1/chat/completions", json=say("nul \x00 here"))
    assert answer.status_code == 200, answer.text
    found = (await gateway.chat.get(f"/conversations/{answer.headers['X-Conversation-Id']}")).json()
    assert found["turns"][0]["reply"]["content"] == "a\ufffdb"
    history = [
        {"role": "user", "content": "nul \x00 here"},
        {"role": "assistant", "content": "a\x00b"},
        {"role": "user", "content": "go on"},
    ]
    second = await gateway.chat.post("/v1/chat/completions", json={"model": "demo", "messages": history})
    assert second.headers["X-Conversation-Id"] == answer.headers["X-Conversation-Id"]


async def test_store_false_serves_the_turn_and_keeps_nothing(gateway: RunningGateway, database: Database) -> None:
    for stream in (False, True):
        answer = await gateway.chat.post("/v1/chat/completions", json=say("secret", store=False, stream=stream))
        assert answer.status_code == 200
        assert "X-Conversation-Id" not in answer.headers
    async with database.transaction() as session:
        for table in ("conversations", "episodes", "turns", "turn_tokens"):
            assert (await session.execute(text(f"SELECT count(*) FROM {table}"))).scalar() == 0


async def test_plain_chat_keeps_the_history(gateway: RunningGateway, scripted_engine: ScriptedEngine) -> None:
    first = await gateway.chat.post("/chat", json={"agent": "demo", "message": "hello"})
    assert first.status_code == 200, first.text
    assert first.json()["reply"] == "tiny heard hello"
    body = {"agent": "demo", "message": "and?", "conversation_id": first.json()["conversation_id"]}
    second = await gateway.chat.post("/chat", json=body)
    assert second.json()["conversation_id"] == first.json()["conversation_id"]
    assert [m["content"] for m in scripted_engine.requests[-1]["messages"]] == ["hello", "tiny heard hello", "and?"]
    unknown = await gateway.chat.post("/chat", json=body | {"conversation_id": "conv_" + "0" * 32})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "conversation_not_found"


async def test_the_agents_defaults_stand_under_the_clients_wishes(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    changed = await gateway.admin.patch(
        "/admin/agents/demo", json={"system_prompt": "Be kind.", "sampling": {"temperature": 0.7, "max_tokens": 9}}
    )
    assert changed.status_code == 200, changed.text
    await asyncio.sleep(0.3)
    await gateway.chat.post("/v1/chat/completions", json=say("hi", max_completion_tokens=5, top_p=0.5))
    sent = scripted_engine.requests[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (sent["temperature"], sent["top_p"], sent["max_completion_tokens"]) == (0.7, 0.5, 5)
    assert "max_tokens" not in sent
    assert sent["return_token_ids"] is True


async def test_a_turn_at_the_cap_ends_the_episode_and_the_next_one_starts_another(
    database: Database, gateway: RunningGateway
) -> None:
    await create_agent(database, "short", max_turns=1)
    await asyncio.sleep(0.7)
    body = {"model": "short", "messages": [{"role": "user", "content": "x"}], "metadata": {"conversation_id": "c"}}
    for _ in range(2):
        assert (await gateway.chat.post("/v1/chat/completions", json=body)).status_code == 200
    found = (await gateway.chat.get("/conversations/c")).json()
    assert [episode["ended_by"] for episode in found["episodes"]] == ["cap", "cap"]
    assert [turn["index"] for turn in found["turns"]] == [0, 1]
    assert found["state"] == "awaiting"


async def test_a_returning_users_episode_is_not_idle_before_its_first_reply(
    gateway: RunningGateway, database: Database
) -> None:
    body = say("hello", metadata={"conversation_id": "back"})
    await gateway.chat.post("/v1/chat/completions", json=body)
    await gateway.chat.post("/conversations/back/close")
    async with database.transaction() as session:
        await session.execute(text("UPDATE conversations SET last_turn_at = now() - interval '9 days'"))
    begun = await gateway.chat.post("/v1/chat/completions", json=say("again", metadata={"conversation_id": "back"}))
    assert begun.status_code == 200
    async with database.transaction() as session:
        assert not await conversations.list_idle(session, limit=9)


async def test_a_pin_hears_its_own_version_and_does_not_outlast_its_request(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "well"},
        {"role": "user", "content": "and?"},
    ]
    body = {"messages": history, "metadata": {"conversation_id": "pinned"}}
    for _ in range(2):  # the second is no retry: who pins wants to hear
        answer = await gateway.admin.post("/v1/chat/completions", json=body | {"model": "demo@base"})
        assert answer.status_code == 200, answer.text
    assert len(scripted_engine.requests) == 2
    user = await gateway.chat.post("/v1/chat/completions", json=body | {"model": "demo"})
    assert user.status_code == 200
    assert len(scripted_engine.requests) == 3
    found = (await gateway.chat.get("/conversations/pinned")).json()
    assert [episode["arm"] for episode in found["episodes"]] == ["pinned", "stable"]

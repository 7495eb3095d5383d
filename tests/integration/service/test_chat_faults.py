"""Turns that go wrong: a bad request, an engine or a database that fails, a client that hangs up; no turn is lost."""

import asyncio
import json

import pytest
from sqlalchemy import text

from core.domain import ids
from core.storage.database import Database
from core.storage.repositories import conversations
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.raw_engine import piece, running_raw_engine
from tests.fixtures.scripted_engine import ScriptedEngine


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


def say(text: str, **more: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], **more}


async def test_a_stream_that_the_engine_breaks_is_kept_as_truncated(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "cut"
    answer = await gateway.chat.post("/v1/chat/completions", json=say("hello", stream=True))
    last = json.loads(answer.text.strip().splitlines()[-1][6:])
    assert last["error"]["code"] == "engine_failed"
    assert "[DONE]" not in answer.text
    found = (await gateway.chat.get(f"/conversations/{answer.headers['X-Conversation-Id']}")).json()
    assert found["turns"][0]["finish_reason"] == "truncated"
    assert found["turns"][0]["reply"]["content"] == "ti"
    assert found["turns"][0]["learnable"] == "none"


async def test_a_client_that_hangs_up_stops_the_engine_and_leaves_a_truncated_turn(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.05
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=say("hello", stream=True)) as answer:
        conversation = answer.headers["X-Conversation-Id"]
        await scripted_engine.speaking.wait()
    for _ in range(100):
        found = (await gateway.chat.get(f"/conversations/{conversation}")).json()
        if found["turns"] and scripted_engine.hung_up:
            break
        await asyncio.sleep(0.02)
    assert found["turns"][0]["finish_reason"] == "truncated"
    assert scripted_engine.hung_up == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("refuse", 400, "engine_refused"),
        ("fail", 502, "engine_failed"),
        ("garbage", 502, "engine_failed"),
        ("nonsense", 502, "engine_failed"),
        ("close", 502, "engine_failed"),
        ("away", 503, "engine_busy"),
        ("hang", 504, "engine_timeout"),
    ],
)
async def test_what_goes_wrong_in_the_engine_has_its_own_status(
    start_gateway, scripted_engine: ScriptedEngine, fault: str, status: int, code: str, stream: bool
) -> None:
    limits = {"engine_timeout_seconds": 0.5 if fault == "hang" else 60.0}
    async with start_gateway(scripted_engine.url, engine=limits, engine_check_seconds=60.0) as gateway:
        scripted_engine.fault = fault
        answer = await gateway.chat.post("/v1/chat/completions", json=say("hello", stream=stream))
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["code"] == code
        assert answer.json()["error"].keys() == {"message", "type", "code", "param"}
        if status == 503:
            assert "Retry-After" in answer.headers
        if fault == "refuse":
            assert "512" in answer.json()["error"]["message"]
            assert answer.json()["error"]["param"] == "input_tokens"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "code"), [("blurt", "engine_failed"), ("lose", "adapter_not_loaded")])
async def test_an_engines_own_words_on_its_failure_are_for_the_log(
    gateway: RunningGateway,
    scripted_engine: ScriptedEngine,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    code: str,
    stream: bool,
) -> None:
    scripted_engine.fault = fault
    answer = await gateway.chat.post("/v1/chat/completions", json=say("hello", stream=stream))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, code)
    assert "/opt/" not in answer.text
    assert "/opt/" in caplog.text
    assert len(caplog.text) < 5000


async def test_what_an_engine_says_when_it_breaks_off_is_for_the_log(
    start_gateway: StartGateway, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        blurted = b'data: {"error": {"message": "File \\"/opt/vllm/worker.py\\", line 7"}}\n\n'
        engine.pieces = [piece({"content": "h"}), blurted]
        answer = await gateway.chat.post("/v1/chat/completions", json=say("hello", stream=True))
    last = json.loads(answer.text.strip().splitlines()[-1][6:])
    assert last["error"]["code"] == "engine_failed"
    assert "/opt/" not in answer.text
    assert "/opt/" in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "demo", "messages": []}, 400),
        ({"model": "demo"}, 400),
        ({"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, 404),
        ({"model": "../../etc/passwd", "messages": [{"role": "user", "content": "x"}]}, 404),
        ({"model": "demo", "messages": [{"role": "user", "content": "x"}], "n": 2}, 400),
        ({"model": "demo", "messages": [{"role": "pirate", "content": "x"}]}, 400),
        ({"model": "demo", "messages": [{"role": "user"}]}, 400),
        ({"model": "demo", "messages": [{"role": "user", "content": "x"}], "temperature": -1}, 400),
        ({"model": "demo", "messages": [{"role": "user", "content": "x"}], "metadata": {"a": 1}}, 400),
        (
            {
                "model": "demo",
                "messages": [{"role": "user", "content": "x"}],
                "metadata": {"conversation_id": "x" * 129},
            },
            400,
        ),
        ({"model": "demo@v7", "messages": [{"role": "user", "content": "x"}]}, 403),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_in_openais_shape(
    gateway: RunningGateway, body: dict[str, object], status: int
) -> None:
    answer = await gateway.chat.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].keys() == {"message", "type", "code", "param"}


async def test_broken_json_a_lone_surrogate_and_a_body_over_the_limit_are_refused(gateway: RunningGateway) -> None:
    for content in (b"{", b'{"model": "demo", "messages": [{"role": "user", "content": "\\ud800"}]}'):
        broken = await gateway.chat.post("/v1/chat/completions", content=content)
        assert broken.status_code == 400
        assert broken.json()["error"]["code"] == "invalid_json"
    large = await gateway.chat.post("/v1/chat/completions", json=say("x" * 2 * 1024 * 1024))
    assert large.status_code == 413
    assert large.json()["error"]["code"] == "request_too_large"

    async def pieces():
        for _ in range(2048):
            yield b"x" * 1024

    lied = await gateway.chat.post("/v1/chat/completions", content=pieces())
    assert lied.status_code == 413


async def test_the_database_away_is_an_error_and_not_a_finish(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, database: Database
) -> None:
    scripted_engine.pause = 0.02
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=say("hello", stream=True)) as answer:
        await scripted_engine.speaking.wait()
        async with database.transaction() as session:
            await session.execute(text("ALTER TABLE turns RENAME TO turns_away"))
        lines = [line async for line in answer.aiter_lines() if line]
    assert json.loads(lines[-1][6:])["error"]["code"] == "turn_not_saved"
    assert not any('"finish_reason":"stop"' in line for line in lines)


async def test_no_log_line_holds_what_people_say(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with database.transaction() as session:
        await session.execute(text("ALTER TABLE turns ADD CONSTRAINT never CHECK (index < 0)"))
    for stream in (False, True):
        answer = await gateway.chat.post("/v1/chat/completions", json=say("my secret pin is xylophone", stream=stream))
        assert "turn" in answer.text or answer.status_code == 500
    assert "23514" in caplog.text
    assert "turn_" in caplog.text
    assert "xylophone" not in caplog.text


async def test_a_client_that_hangs_up_during_the_commit_loses_no_turn(
    gateway: RunningGateway, scripted_engine: ScriptedEngine, database: Database
) -> None:
    scripted_engine.pause = 0.01
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=say("hello", stream=True)) as answer:
        conversation = answer.headers["X-Conversation-Id"]
        await scripted_engine.speaking.wait()
        async with database.transaction() as session:  # holds the commit back until the client is gone
            own = ids.parse(ids.Prefix.CONVERSATION, conversation)
            assert own is not None
            await conversations.lock_conversation(session, own)
            await asyncio.sleep(0.8)
            await answer.aclose()
            await asyncio.sleep(0.3)
    await asyncio.sleep(0.3)
    found = (await gateway.chat.get(f"/conversations/{conversation}")).json()
    assert [turn["finish_reason"] for turn in found["turns"]] == ["stop"]


async def test_an_engine_that_is_full_is_not_taken_for_dead(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "full"
    busy = await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    assert (busy.status_code, busy.json()["error"]["code"]) == (503, "engine_busy")
    scripted_engine.fault = None
    assert (await gateway.chat.post("/v1/chat/completions", json=say("hello"))).status_code == 200


async def test_a_nul_in_an_id_is_refused(gateway: RunningGateway) -> None:
    assert (await gateway.chat.get("/conversations/%00")).status_code == 422
    body = {"agent": "demo", "message": "x", "conversation_id": "a\x00"}
    assert (await gateway.chat.post("/chat", json=body)).status_code == 422

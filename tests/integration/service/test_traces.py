"""What a collector gets of a turn, its outcome and a task: one tree, and nothing that was said."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from opentelemetry.trace import INVALID_SPAN

from core import tracing
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.collector import Collector
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.integration.worker.test_celery import running

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CARRIED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
SECRET = "my secret pin is xylophone"
WORKER = [sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker", "--queues", "cpu", "--pool", "solo"]


def say(text: str, **more: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": text}], "user": "alice-xylophone", **more}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


@pytest.fixture
async def traced(collector: Collector, start_gateway: StartGateway, scripted_engine: ScriptedEngine):
    async with start_gateway(scripted_engine.url) as gateway:
        yield gateway


def paths(collector: Collector) -> set[str]:
    """The names from below the caller's span down to each."""
    by_id = {span.id: span for span in collector.spans}
    found = set()
    for span in collector.spans:
        names = [span.name]
        while span.parent in by_id:
            span = by_id[span.parent]
            names.insert(0, span.name)
        if span.parent == CALLER:
            found.add(" > ".join(names))
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_and_its_outcome_are_one_tree(
    traced: RunningGateway, collector: Collector, scripted_engine: ScriptedEngine, stream: bool
) -> None:
    answer = await traced.chat.post("/v1/chat/completions", json=say(SECRET, stream=stream), headers=CARRIED)
    turn = answer.headers["X-Turn-Id"]
    told = {"turn_id": turn, "value": 1.0, "comment": SECRET, "source": "crm"}
    assert (await traced.feedback.post("/feedback", json=told, headers=CARRIED)).status_code == 201
    await collector.wait_for(lambda: {"POST /feedback", "chat demo"} <= {span.name for span in collector.spans})
    assert {span.trace for span in collector.spans} == {TRACE}
    assert {span.service for span in collector.spans} == {"nock-gateway"}
    assert paths(collector) == {
        "chat demo",
        "chat demo > transaction",  # who the key belongs to
        "chat demo > opening",
        "chat demo > opening > opening together",
        "chat demo > chat tiny",
        "chat demo > writing",
        "chat demo > writing > writing together",
        "POST /feedback",
        "POST /feedback > transaction",
        "POST /feedback > outcomes",
        "POST /feedback > outcomes > outcomes together",
        "POST /feedback > outcomes > outcomes together > transaction",
    }
    engine = collector.named("chat tiny")
    assert scripted_engine.headers[0]["traceparent"] == f"00-{TRACE}-{engine.id}-01"
    assert engine.attributes["server.address"] == "127.0.0.1"
    attributes = collector.named("chat demo").attributes
    assert attributes["gen_ai.response.id"] == turn
    assert attributes["nock.conversation_id"] == answer.headers["X-Conversation-Id"]
    assert (attributes["nock.agent"], attributes["nock.adapter"]) == ("demo", "demo@base")
    assert attributes["gen_ai.usage.output_tokens"] > 0
    assert attributes["http.response.status_code"] == 200
    assert b"xylophone" not in collector.raw


async def test_turns_that_share_a_commit_are_linked_to_it(traced: RunningGateway, collector: Collector) -> None:
    asked = [traced.chat.post("/v1/chat/completions", json=say(f"{number}")) for number in range(20)]
    await asyncio.gather(*asked)
    await collector.wait_for(lambda: sum(span.name == "chat demo" for span in collector.spans) == 20)
    waited = {span.id for span in collector.spans if span.name == "writing"}
    shared = [span for span in collector.spans if span.name == "writing together"]
    assert len(waited) == 20
    assert sorted(waited) == sorted(
        [*(span.parent for span in shared), *(one for span in shared for one in span.linked)]
    )


async def test_a_failure_is_told_by_its_kind_alone(
    traced: RunningGateway, collector: Collector, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.fault = "refuse"
    await traced.chat.post("/v1/chat/completions", json=say(SECRET), headers=CARRIED)
    scripted_engine.fault = "fail"
    assert (await traced.chat.post("/v1/chat/completions", json=say(SECRET))).status_code == 502
    await collector.wait_for(lambda: sum(span.name == "chat demo" for span in collector.spans) == 2)
    told = {(span.name, span.attributes.get("error.type")) for span in collector.spans if span.failed}
    assert {("chat tiny", "engine_refused"), ("chat tiny", "engine_failed"), ("chat demo", "502")} == told
    assert b"xylophone" not in collector.raw
    for said_by_the_engine in (b"maximum context length", b"out of memory"):
        assert said_by_the_engine not in collector.raw


async def test_what_is_not_sampled_makes_no_span_and_tells_the_engine_so(
    collector: Collector,
    start_gateway: StartGateway,
    scripted_engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start_gateway(scripted_engine.url) as gateway:
        unsampled = {"traceparent": f"00-{TRACE}-{CALLER}-00"}
        await gateway.chat.post("/v1/chat/completions", json=say(SECRET), headers=unsampled)
        assert scripted_engine.headers[0]["traceparent"].split("-")[1::2] == [TRACE, "00"]
    assert collector.spans == []


async def test_looking_at_a_gateways_health_leaves_no_trace(collector: Collector, traced: RunningGateway) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        await traced.nobody.get(path)
    await traced.admin.get("/v1/models")
    await collector.wait_for(lambda: bool(collector.spans))
    assert {span.name for span in collector.spans if not span.parent} == {"GET /v1/models"}


async def test_a_path_that_names_somebody_is_told_by_its_route(collector: Collector, traced: RunningGateway) -> None:
    await traced.admin.delete("/users/alice-xylophone?agent=demo")
    await collector.wait_for(lambda: any("users" in span.name for span in collector.spans))
    assert b"xylophone" not in collector.raw


async def test_a_task_goes_on_with_the_trace_of_who_asked_for_it(
    collector: Collector, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "NOCK_DATABASE_URL": database_url,
        "NOCK_REDIS_URL": redis_url,
        "NOCK_ENGINE_URLS": "http://127.0.0.1:9",
        "NOCK_SECRET": "what only this test's deployment knows",
    }
    monkeypatch.setenv("NOCK_REDIS_URL", redis_url)
    from worker.tasks import app

    tracing.set_up("test")
    with tracing.span_from(CARRIED, "asking"):
        app.tasks["episodes.close_idle"].apply_async()
    app.tasks["webhook.deliver"].apply_async()
    with running(WORKER, environment, tmp_path / "worker.log", grace=5):
        await collector.wait_for(
            lambda: {"run episodes.close_idle", "run webhook.deliver"} <= {span.name for span in collector.spans}, 60
        )
    assert {"asking > run episodes.close_idle", "asking > run episodes.close_idle > transaction"} <= paths(collector)
    run, ticked = collector.named("run episodes.close_idle"), collector.named("run webhook.deliver")
    assert (run.trace, run.service) == (TRACE, "nock-worker")
    assert (ticked.parent, ticked.trace != TRACE) == ("", True)


async def test_a_collector_that_is_away_delays_no_request_and_no_end(
    start_gateway: StartGateway, scripted_engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        async with start_gateway(scripted_engine.url) as gateway:
            await gateway.chat.post("/v1/chat/completions", json=say("warm"))
            await asyncio.sleep(0.1)
            started = time.monotonic()
            for number in range(5):
                assert (await gateway.chat.post("/v1/chat/completions", json=say(f"{number}"))).status_code == 200
            assert time.monotonic() - started < 5
            ending = time.monotonic()
        assert time.monotonic() - ending < tracing.FLUSH_SECONDS + 3


async def test_without_a_collector_there_is_no_span(gateway: RunningGateway, scripted_engine: ScriptedEngine) -> None:
    await gateway.chat.post("/v1/chat/completions", json=say("hello"), headers=CARRIED)
    assert "traceparent" not in scripted_engine.headers[0]
    assert tracing.current() is INVALID_SPAN


@pytest.mark.parametrize("command", [[sys.executable, "-m", "service"], WORKER], ids=["gateway", "worker"])
def test_another_protocol_ends_a_process_at_its_start_with_a_sentence(command: list[str]) -> None:
    environment = {
        "NOCK_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:9/nothing",
        "NOCK_REDIS_URL": "redis://127.0.0.1:9/0",
        "NOCK_ENGINE_URLS": "http://127.0.0.1:9",
        "NOCK_SECRET": "what only this test's deployment knows",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert ended.stderr == "Traces are sent as http/protobuf, not as grpc: see OTEL_EXPORTER_OTLP_PROTOCOL.\n"

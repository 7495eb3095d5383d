"""What /metrics and the log say of turns, and of what waits and hangs; never what was said."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from core.domain.canaries import CanaryState
from core.domain.ids import new_id
from core.storage import models
from core.storage.database import Database, connect
from core.storage.models import RunState
from service import backlog_figures, metrics
from service.chat import observing
from tests.fixtures.builders import create_adapter, create_agent
from tests.fixtures.gateway import RunningGateway
from tests.fixtures.runs import queue_run
from tests.fixtures.scripted_engine import ScriptedEngine

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def say(words: str, **more: object) -> dict[str, object]:
    return {"model": "watched", "messages": [{"role": "user", "content": words}], **more}


@pytest.fixture(autouse=True)
async def agent(database: Database) -> models.Agent:
    return await create_agent(database, "watched")


def read(told: str) -> Figures:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }


async def scrape(gateway: RunningGateway) -> Figures:
    return read((await gateway.nobody.get("/metrics")).text)


def value(figures: Figures, name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


async def test_a_turns_time_is_split_into_the_engines_and_the_gateways(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    version = {"agent": "watched", "adapter": "watched@base"}
    before = await scrape(gateway)
    scripted_engine.pause = 0.05
    assert (await gateway.chat.post("/v1/chat/completions", json=say("hello", stream=True))).status_code == 200
    after = await scrape(gateway)

    def took(name: str) -> float:
        assert value(after, f"{name}_count", **version) - value(before, f"{name}_count", **version) == 1
        return value(after, f"{name}_sum", **version) - value(before, f"{name}_sum", **version)

    whole, own, engine = took("nock_turn_seconds"), took("nock_gateway_seconds"), took("nock_engine_seconds")
    assert whole == pytest.approx(own + engine)
    pauses = (len("tiny heard hello") - 1) * scripted_engine.pause
    assert took("nock_first_token_seconds") > 0
    assert engine - took("nock_first_token_seconds") > pauses / 2, "the first token came before the pauses"
    assert 0 < own < engine
    for name, labels, more in (
        ("nock_turns_total", {"finish_reason": "stop"}, 1),
        ("nock_tokens_total", {"kind": "completion"}, len("tiny heard hello")),
    ):
        assert value(after, name, **version, **labels) - value(before, name, **version, **labels) == more


async def test_chats_and_streams_are_counted_while_they_run(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    scripted_engine.pause = 0.05
    engine = scripted_engine.url.removeprefix("http://")
    async with gateway.chat.stream("POST", "/v1/chat/completions", json=say("hello", stream=True)) as answer:
        await scripted_engine.speaking.wait()
        during = await scrape(gateway)
        await answer.aread()
    for _ in range(100):
        after = await scrape(gateway)
        if not value(after, "nock_chats_in_flight"):
            break
        await asyncio.sleep(0.02)
    for name, labels in (
        ("nock_chats_in_flight", {}),
        ("nock_streams_in_flight", {}),
        ("nock_engine_in_flight", {"engine": engine}),
    ):
        assert (value(during, name, **labels), value(after, name, **labels)) == (1, 0), name


async def test_answers_are_counted_by_status_and_failures_by_code(
    gateway: RunningGateway, scripted_engine: ScriptedEngine
) -> None:
    before = await scrape(gateway)
    scripted_engine.fault = "fail"
    await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    await gateway.nobody.post("/v1/chat/completions", json=say("hello"))
    after = await scrape(gateway)
    for name, labels in (
        ("nock_chat_requests_total", {"status": "502"}),
        ("nock_chat_requests_total", {"status": "401"}),
        ("nock_failed_turns_total", {"agent": "watched", "code": "engine_failed"}),
    ):
        assert value(after, name, **labels) - value(before, name, **labels) == 1, name


async def test_the_gateways_own_parts_are_told(gateway: RunningGateway, scripted_engine: ScriptedEngine) -> None:
    await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    await asyncio.sleep(0.6)  # a beat of the pulse
    told = await scrape(gateway)
    for gathering in ("finding", "opening", "writing", "outcomes"):
        assert ("nock_gathering_waiting", frozenset({("gathering", gathering)})) in told
    assert value(told, "nock_gathered_requests_count", gathering="writing") > 0
    for pool in ("sessions", "swift", "durable"):
        assert value(told, "nock_pool_connections", pool=pool) > 0
    assert value(told, "nock_engine_up", engine=scripted_engine.url.removeprefix("http://")) == 1
    assert value(told, "nock_event_loop_lag_seconds_count") > 0
    assert datetime.now(UTC).timestamp() - value(told, "nock_started_timestamp_seconds") < 600


async def test_what_waits_and_what_hangs_is_looked_up(
    gateway: RunningGateway, database: Database, agent: models.Agent
) -> None:
    other = await create_agent(database, "other")
    run_id = await queue_run(database, agent)
    await queue_run(database, other)
    now = datetime.now(UTC)
    async with database.transaction() as session:
        run = await session.get_one(models.LearnerRun, run_id)
        run.state, run.started_at, run.lease_until = RunState.RUNNING, now, now - timedelta(seconds=100)
        session.add(models.DeadLetter(id=new_id(), key_id=new_id(), body={}, reason="nobody knows it"))
    await gateway.chat.post("/v1/chat/completions", json=say("hello"))
    async with database.transaction() as session:
        await session.execute(text("UPDATE conversations SET due_at = now() - interval '50 seconds'"))
    told = await scrape(gateway)
    waiting = {"outcome": 1, "dead_letter": 1, "run": 1, "webhook": 0, "evaluation": 0}
    assert {kind: value(told, "nock_waiting", kind=kind) for kind in waiting} == waiting
    assert 50 <= value(told, "nock_waiting_seconds", kind="outcome") < 100
    assert 100 <= value(told, "nock_learner_run_lapsed_seconds", agent="watched") < 200
    assert value(told, "nock_database_up") == 1


async def test_how_trials_ended_is_looked_up(gateway: RunningGateway, database: Database, agent: models.Agent) -> None:
    version, stable = await create_adapter(database, agent), await create_adapter(database, agent)
    ended = datetime.now(UTC) - timedelta(seconds=30)
    for number in range(2):
        async with database.transaction() as session:
            session.add(
                models.Canary(
                    id=new_id(),
                    agent_id=agent.id,
                    adapter_id=version.id,
                    stable_id=stable.id,
                    state=CanaryState.ROLLED_BACK,
                    gates={},
                    measures=[],
                    weight=0.0,
                    by="test",
                    reason="test",
                    ended_at=ended - timedelta(hours=number),
                )
            )
    told = await scrape(gateway)
    taken_back = {"agent": "watched", "state": "rolled_back"}
    assert value(told, "nock_trials", **taken_back) == 2
    assert value(told, "nock_trial_ended_timestamp_seconds", **taken_back) == pytest.approx(ended.timestamp())


async def test_a_database_that_is_away_is_told_and_hides_nothing_else() -> None:
    nowhere = Database(connect("postgresql+psycopg://nobody@127.0.0.1:9/nowhere"))
    told = read(metrics.exposition(await backlog_figures.look_up(nowhere)).decode())
    assert value(told, "nock_database_up") == 0
    assert ("nock_started_timestamp_seconds", frozenset()) in told


async def test_lines_of_a_turn_name_it_and_hold_nothing_that_was_said(
    gateway: RunningGateway,
    scripted_engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[structlog.typing.EventDict] = []

    def keep(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        lines.append(dict(event))
        raise structlog.DropEvent

    told = structlog.wrap_logger(
        None,
        processors=[structlog.contextvars.merge_contextvars, keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    monkeypatch.setattr(observing, "log", told)
    secret = "my secret pin is xylophone"
    whole = await gateway.chat.post("/v1/chat/completions", json=say(secret))
    scripted_engine.fault = "cut"
    await gateway.chat.post("/v1/chat/completions", json=say(secret, stream=True, user="alice-xylophone"))
    answered, truncated, failed = lines
    assert (answered["event"], answered["turn"]) == ("turn answered", whole.headers["X-Turn-Id"])
    assert answered["conversation"] == whole.headers["X-Conversation-Id"]
    assert answered["seconds"] > answered["engine_seconds"] > 0
    assert answered["completion_tokens"] == len(f"tiny heard {secret}")
    assert (truncated["finish_reason"], failed["event"], failed["code"]) == (
        "truncated",
        "turn failed",
        "engine_failed",
    )
    assert failed["turn"] == truncated["turn"] != answered["turn"]
    assert "xylophone" not in str(lines)
    assert "xylophone" not in (await gateway.nobody.get("/metrics")).text

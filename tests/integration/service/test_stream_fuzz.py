"""Rough clients at the stream, many at once: nothing hangs, nothing is left over, and no turn is lost.

`make soak-streams`: the long form, another each time (SEED=… repeats one).
"""

import asyncio
import os
import random
import re
import sys
import time

import pytest
from hypothesis import settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from core.domain.ids import Prefix, public
from core.storage.database import Database
from tests.fixtures.builders import create_agent
from tests.fixtures.gateway import RunningGateway, StartGateway
from tests.fixtures.raw_engine import END, piece, running_raw_engine
from tests.fixtures.raw_http import RawClient, request, server_sides
from tests.fixtures.rough_clients import ROUGH
from tests.fixtures.scripted_engine import ScriptedEngine
from tests.fixtures.waiting import eventually

SHORT, LONG = 20, 400
"""Batches."""
AT_ONCE = 30
QUICKLY_SECONDS = 5.0
"""A plain request afterwards, on a machine however busy."""

FINISHED = re.compile(rb'data: [^\n]*"id":"(turn_\w+)"[^\n]*"finish_reason":"stop"')
WHOLE = """
    SELECT turns.id, turns.finish_reason, turns.reply ->> 'content', tokens.completion IS NOT NULL,
           octet_length(tokens.completion) / 4, octet_length(tokens.logprobs) / 4
    FROM turns LEFT JOIN turn_tokens AS tokens ON tokens.turn_id = turns.id
"""


@pytest.fixture(autouse=True)
async def agent(database: Database) -> None:
    await create_agent(database, "demo")


async def test_whatever_clients_do_nothing_hangs_nothing_is_left_and_no_turn_is_lost(
    gateway: RunningGateway, database: Database, scripted_engine: ScriptedEngine
) -> None:
    is_long = settings.get_current_profile_name() == "soak"
    seed = int(os.environ.get("SEED", random.randrange(10**6) if is_long else 1))
    draw = random.Random(seed)
    told: set[str] = set()
    await gateway.chat.post("/chat", json={"agent": "demo", "message": "hello"})
    tasks, sides = count_tasks(), server_sides(gateway.url)
    for batch in range(LONG if is_long else SHORT):
        sys.stdout.write(f"seed {seed}, batch {batch}\n")
        scripted_engine.reply = "a word of wisdom " * draw.randrange(1, 20)
        scripted_engine.pause = draw.choice([0, 0, 0.001])
        told |= await run_batch(gateway, draw)
        await eventually(lambda: gateway.app.state.capacity.under_way == 0)
        await eventually(lambda: gateway.app.state.gateway.pool.engines[0].in_flight == 0)
        await eventually(lambda: server_sides(gateway.url) <= sides)
        await eventually(lambda: count_tasks() <= tasks)
        assert busy_connections(gateway) == 0
        await answers_quickly(gateway)
    await check_turns(database, told)


async def run_batch(gateway: RunningGateway, draw: random.Random) -> set[str]:
    """The turns whose end somebody heard."""
    heard = await asyncio.gather(*(run_one(gateway, random.Random(draw.random())) for _ in range(AT_ONCE)))
    return {turn.decode() for one in heard for turn in FINISHED.findall(one)}


async def run_one(gateway: RunningGateway, draw: random.Random) -> bytes:
    rough = draw.choice(ROUGH)
    each = await RawClient.connect(gateway.url, buffer_bytes=draw.choice([256, 2**16]))
    try:
        await rough(draw, each, gateway.keys.chat)
    finally:
        each.cut()
    assert b" 500 " not in each.heard[:20], (rough.__name__, each.heard[:500])
    return each.heard


def count_tasks() -> int:
    """Without those that are kept for the next request: the engine's, one for each connection, and the few writers."""
    kept = re.compile("RequestHandler|Gathering._write")
    return sum(1 for task in asyncio.all_tasks() if not kept.search(repr(task.get_coro())))


def busy_connections(gateway: RunningGateway) -> int:
    bind = gateway.app.state.gateway.database.bind
    assert isinstance(bind, AsyncEngine)
    assert isinstance(bind.pool, QueuePool)
    return bind.pool.checkedout()


async def answers_quickly(gateway: RunningGateway) -> None:
    began = time.monotonic()
    answer = await gateway.chat.get("/v1/models")
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < QUICKLY_SECONDS


async def check_turns(database: Database, told: set[str]) -> None:
    """Each that was told of is kept once, whole; and none is kept by halves."""
    assert len(told) > 10
    async with database.transaction() as session:
        rows = (await session.execute(text(WHOLE))).all()
    kept = {public(Prefix.TURN, row[0]): row for row in rows}
    assert len(kept) == len(rows)
    assert told - kept.keys() == set()
    assert {kept[turn][1] for turn in told} == {"stop"}
    for turn, (_, finish, reply, has_tokens, tokens, logprobs) in kept.items():
        assert finish in ("stop", "truncated"), turn
        assert has_tokens, turn
        assert len(reply) == tokens == logprobs, turn


async def test_who_reads_nothing_makes_the_engine_wait_and_nobody_else(start_gateway: StartGateway) -> None:
    async with running_raw_engine() as engine, start_gateway(engine.url) as gateway:
        engine.pieces = [*[piece({"content": "x" * 60_000})] * 1000, END]
        deaf = await RawClient.connect(gateway.url, buffer_bytes=256)
        await deaf.send([request(gateway.keys.chat, "hello")])
        sent = -1
        while sent != engine.sent:
            sent = engine.sent
            await asyncio.sleep(0.5)
        assert 0 < sent < 1000, "what the engine has said and nobody reads lies in no memory of ours"
        engine.pieces = [piece({"content": "y"}), END]
        await answers_quickly(gateway)
        deaf.cut()
        await eventually(lambda: gateway.app.state.capacity.under_way == 0)

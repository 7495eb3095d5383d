"""How long a learner's draw takes as history grows, and by which plans: 10,000, 100,000 and a million turns.

Conversations of four turns, filled by the database itself; a tenth await their outcome, a hundredth changed after they
had taught. Prints the table and writes bench/results/replay.json with the plans.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from bench.outcomes.servers import postgres
from core.storage.database import Database, connect
from core.storage.models import Agent
from core.storage.repositories import replay
from service.app import libpq_address
from worker.replay.config import ReplayConfig
from worker.replay.drawing import draw
from worker.replay.histories import read_histories

RESULT = Path(__file__).parent / "results" / "replay.json"
TURNS = (10_000, 100_000, 1_000_000)
TURNS_EACH = 4
REPEATS = 9

# Ids of version 7 with random tails, as the gateway makes them; the newest conversations last.
FILL = (
    """
    INSERT INTO adapter_versions (id, agent_id, number, state) VALUES (gen_random_uuid(), %(agent)s, 0, 'stable')
    """,
    """
    INSERT INTO conversations (id, agent_id, end_user, key_id, tags, state, grouped, closed_at, matured_at, taught_at,
                               changed_at)
    SELECT gen_random_uuid(), %(agent)s, format('user %%s', number %% (%(count)s / 5)), gen_random_uuid(), '{}',
           CASE WHEN number %% 10 = 0 THEN 'awaiting' ELSE 'matured' END, 'new',
           now() - make_interval(secs => %(count)s - number),
           CASE WHEN number %% 10 = 0 THEN NULL ELSE now() - make_interval(secs => %(count)s - number) END,
           now(), CASE WHEN number %% 100 = 1 THEN now() END
    FROM generate_series(1, %(count)s) AS number
    """,
    """
    INSERT INTO episodes (id, agent_id, conversation_id, ordinal, adapter_id, arm, propensity, turn_count, ended_at,
                          ended_by)
    SELECT gen_random_uuid(), conversations.agent_id, conversations.id, 0, adapter_versions.id, 'stable', 1.0, %(each)s,
           now(), 'closed'
    FROM conversations, adapter_versions
    """,
    """
    INSERT INTO turns (id, agent_id, conversation_id, episode_id, index, messages, reply, finish_reason, usage,
                       sampling, learnable, previous_head, request_hash, head_hash, engine_seconds)
    SELECT gen_random_uuid(), agent_id, conversation_id, id, number,
           '[{"role": "user", "content": "Where is my order?"}]',
           '{"role": "assistant", "content": "It left on Monday."}', 'stop', '{}', '{"temperature": 1.0}', 'actor',
           uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()), 0.1
    FROM episodes, generate_series(0, %(each)s - 1) AS number
    """,
    """
    INSERT INTO reward_entries (id, agent_id, conversation_id, metric, value, source)
    SELECT gen_random_uuid(), agent_id, id, 'reward', '1.0', 'crm' FROM conversations WHERE state = 'matured'
    """,
    "VACUUM (ANALYZE)",
)

Query = Callable[[Any, UUID, ReplayConfig], Awaitable[object]]
QUERIES: dict[str, Query] = {
    "changed": lambda session, agent, config: replay.list_changed(session, agent, limit=config.max_conversations),
    "newest": lambda session, agent, config: replay.list_newest(session, agent, limit=4 * config.max_conversations),
    "by lot": lambda session, agent, config: replay.list_by_lot(
        session, agent, b"\x55" * 4, limit=config.max_conversations
    ),
    "without outcome": lambda session, agent, config: replay.list_without_outcome(
        session, agent, limit=4 * config.max_conversations, among=8 * config.max_conversations
    ),
}


class Explaining:
    """Stands for a session: runs each statement under EXPLAIN ANALYZE too, and keeps the plans."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self.plans: list[str] = []

    async def execute(self, statement: Any) -> Any:
        """The statement's own rows."""
        dialect: Any = postgresql.dialect
        compiled = str(statement.compile(dialect=dialect(), compile_kwargs={"literal_binds": True}))
        rows = await self.session.execute(text(f"EXPLAIN (ANALYZE, BUFFERS OFF) {compiled}".replace(":", "\\:")))
        self.plans.append("\n".join(row[0] for row in rows))
        return await self.session.execute(statement)


async def measure(url: str, turns: int) -> dict[str, Any]:
    """Fill an empty database with so many turns; milliseconds and plans of a draw in it."""
    engine = connect(url)
    database, config = Database(engine), ReplayConfig()
    async with database.transaction() as session:
        agent = Agent(name="bench", base_model="none", sampling={}, discount=0.95, max_turns=20, idle_seconds=86400.0)
        agent.schedule, agent.learner = {"enabled": False}, {}
        session.add(agent)
    given = {"agent": agent.id, "count": turns // TURNS_EACH, "each": TURNS_EACH}
    with psycopg.connect(libpq_address(url), autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement, given)

    async def timed(read: Callable[[AsyncSession, Random], Awaitable[object]]) -> float:
        seconds = []
        for repeat in range(REPEATS + 1):
            async with database.snapshot() as session:
                began = time.perf_counter()
                await read(session, Random(repeat))
                seconds.append(time.perf_counter() - began)
        return 1000 * statistics.median(seconds[1:])

    drawn = await timed(lambda session, chance: draw(session, agent.id, config, since=None, chance=chance))
    read = await timed(lambda session, chance: read_histories(session, agent.id, config, since=None, chance=chance))
    plans = {}
    for name, query in QUERIES.items():
        async with database.snapshot() as session:
            explaining = Explaining(session)
            await query(explaining, agent.id, config)
            plans[name] = explaining.plans
    await engine.dispose()
    return {"turns": turns, "draw_ms": drawn, "read_ms": read, "plans": plans}


def main() -> None:
    """A fresh database for each size."""
    results = []
    for turns in TURNS:
        print(f"{turns:,} turns …", flush=True)
        with tempfile.TemporaryDirectory(prefix="nock-") as folder, postgres(Path(folder)) as url:
            results.append(asyncio.run(measure(url, turns)))
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print("| turns | draw, ms | draw and read with rewards, ms |\n| --- | --- | --- |")
    for result in results:
        print(f"| {result['turns']:,} | {result['draw_ms']:.1f} | {result['read_ms']:.0f} |")


if __name__ == "__main__":
    main()

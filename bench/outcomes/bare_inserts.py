"""The yardstick: one committed single-row INSERT after the other on each of so many connections, as its own process."""

import argparse
import asyncio
import time
from uuid import UUID

import psycopg
import uvloop
from psycopg.types.json import Jsonb

from bench.outcomes.measured import Measured
from core.domain.ids import new_id

INSERT = """
INSERT INTO bare_entries (id, agent_id, conversation_id, metric, value, source) VALUES (%s, %s, %s, %s, %s, %s)
"""


async def insert(given: argparse.Namespace) -> None:
    connections = [
        await psycopg.AsyncConnection.connect(given.libpq, autocommit=True, prepare_threshold=0)
        for _ in range(given.in_flight)
    ]
    measured = Measured()
    until = time.perf_counter() + given.seconds
    agent = UUID(given.agent)

    async def one(connection: psycopg.AsyncConnection) -> None:
        while time.perf_counter() < until:
            started = time.perf_counter()
            await connection.execute(INSERT, (new_id(), agent, new_id(), "reward", Jsonb(0.5), "crm"))
            measured.latencies.append(time.perf_counter() - started)

    await asyncio.gather(*map(one, connections))
    measured.print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--libpq", required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    uvloop.run(insert(parser.parse_args()))


if __name__ == "__main__":
    main()
